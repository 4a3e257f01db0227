//! Listeners and the connection loop.
