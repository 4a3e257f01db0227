//! Why a command failed, and how that is said.

use std::io;
use std::path::{Path, PathBuf};

use millstream_client::ClientError;
use millstream_protocol::ErrorCode;
use millstream_reactor::uring::Unsupported;
use thiserror::Error;

/// Why a command failed.
#[derive(Debug, Error)]
pub enum Failure {
    /// The cluster could not be talked to, or says no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// This machine lacks what the reactor needs.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// A file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Standard input or output failed.
    #[error("{what}: {source}")]
    Stream {
        /// Which of them.
        what: &'static str,
        /// How.
        source: io::Error,
    },
    /// The command line asks for what cannot be.
    #[error("{0}")]
    Usage(String),
    /// Some of several things failed; what, was said as it happened.
    #[error("{0}")]
    Partial(String),
}

impl Failure {
    /// A file that cannot be read.
    pub fn file(path: &Path, source: io::Error) -> Failure {
        Failure::File {
            path: path.to_owned(),
            source,
        }
    }

    /// Standard output failed.
    pub fn stdout(source: io::Error) -> Failure {
        Failure::Stream {
            what: "standard output",
            source,
        }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            // Whoever read our output has seen enough.
            Failure::Stream { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => 0,
            _ => 1,
        }
    }

    /// What could be done about it.
    pub fn mend(&self) -> Option<String> {
        let Failure::Client(error) = self else {
            return None;
        };
        match error {
            ClientError::Unreachable(_) => Some(
                "start a broker with `millstreamd`, or name another with --bootstrap-server"
                    .to_owned(),
            ),
            ClientError::InvalidAddress { .. } => {
                Some("--bootstrap-server takes host:port, several with commas between".to_owned())
            }
            ClientError::UnknownTopic { topic } => Some(format!(
                "`millstream topic list` shows those there are, \
                 `millstream topic create {topic}` makes it"
            )),
            ClientError::UnknownPartition { topic, .. } => {
                Some(format!("`millstream topic describe {topic}` shows them"))
            }
            _ => match error.code()? {
                ErrorCode::TopicAlreadyExists => {
                    Some("with --if-not-exists that is not an error".to_owned())
                }
                ErrorCode::MessageTooLarge => Some(
                    "write smaller records, or raise max.message.bytes of the topic".to_owned(),
                ),
                ErrorCode::InvalidReplicationFactor => {
                    Some("there cannot be more replicas than brokers".to_owned())
                }
                _ => None,
            },
        }
    }
}
