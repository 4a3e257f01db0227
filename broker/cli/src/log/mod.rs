//! `millstream log`: log files, read without a broker.

mod dump;
mod index_check;
mod verification;

pub use dump::dump;
pub use verification::verify;
