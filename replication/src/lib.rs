//! One partition as leader: high watermark, ISR, producer waits. Pure.
