//! Metadata records, the image they build, and deltas. Pure.
