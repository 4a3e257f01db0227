//! The server side of connections over the simulated network, and once over the kernel's.

#[path = "connection/files.rs"]
mod files;
#[path = "connection/frames.rs"]
mod frames;
#[path = "connection/harness.rs"]
mod harness;
#[path = "connection/kernel.rs"]
mod kernel;
#[path = "connection/lifetime.rs"]
mod lifetime;
#[path = "connection/limits.rs"]
mod limits;
#[path = "connection/logs.rs"]
mod logs;
#[path = "connection/order.rs"]
mod order;
