//! `millstream-bench` against a real node, at a small scale: what it counts, not how fast.

mod compare;
mod load;
mod node;
