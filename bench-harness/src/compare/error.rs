//! Why there is no comparison.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

/// Why there is no comparison.
#[derive(Debug, Error)]
pub enum CompareError {
    /// A file or folder cannot be used.
    #[error("{path}: {cause}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A suite cannot be read.
    #[error("suite {name}: {reason}")]
    Suite {
        /// Its name or file.
        name: String,
        /// Why.
        reason: String,
    },
    /// There is no such row.
    #[error("the suite has no row or case {0}")]
    UnknownRow(String),
    /// `--broker` names nothing that can be measured.
    #[error("--broker {0}: millstream[:KEY=VALUE,…], kafka[:KEY=VALUE,…] or NAME=HOST:PORT")]
    Broker(String),
    /// None of the brokers that were asked for is in the suite.
    #[error("no row of the suite is about one of the brokers asked for")]
    NothingToDo,
    /// A result cannot be read.
    #[error("{path} is no result of a comparison: {reason}", path = path.display())]
    Results {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The machine lacks something.
    #[error("{0}")]
    Machine(String),
    /// A program cannot be run.
    #[error("cannot run {program}: {cause}")]
    Program {
        /// Which.
        program: String,
        /// Why.
        cause: io::Error,
    },
    /// A program ended badly.
    #[error("{program} failed: {said}")]
    Failed {
        /// Which.
        program: String,
        /// The end of what it said.
        said: String,
    },
    /// A program took too long.
    #[error("{program} did not end within {within:?} and was killed")]
    Late {
        /// Which.
        program: String,
        /// How long it had.
        within: Duration,
    },
    /// The load said something else than its result.
    #[error("the load's result cannot be read: {0}")]
    LoadResult(String),
    /// An expression in a load has no value.
    #[error("{0} is not known: what it is made of was not measured")]
    UnknownFigure(String),
    /// Somebody has asked for the end.
    #[error("interrupted")]
    Interrupted,
    /// Some of the loads failed; the others are in the results.
    #[error("{0} of the measurements failed; the report names them")]
    Incomplete(usize),
}

impl CompareError {
    /// A file or folder that cannot be used.
    pub fn file(path: impl AsRef<Path>, cause: io::Error) -> CompareError {
        CompareError::File {
            path: path.as_ref().to_owned(),
            cause,
        }
    }
}
