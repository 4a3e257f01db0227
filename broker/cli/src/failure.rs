//! Why a command failed, and how that is said.

use std::io;
use std::path::{Path, PathBuf};

use millstream_client::ClientError;
use millstream_packaging::WriteError;
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
    /// A man page or completion cannot be written.
    #[error(transparent)]
    Reference(#[from] WriteError),
    /// The command line asks for what cannot be.
    #[error("{0}")]
    Usage(String),
    /// Some of several things failed; what, was said as it happened.
    #[error("{0}")]
    Partial(String),
    /// What the command is about does not exist.
    #[error("{what}")]
    NotFound {
        /// What does not exist.
        what: String,
        /// What could be done about it.
        mend: String,
    },
    /// Something that was checked is not in order; what, was said as it was found.
    #[error("{0}")]
    Findings(String),
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
            Failure::NotFound { .. } => 3,
            Failure::Client(error) => client_exit_code(error),
            Failure::Findings(_) => 5,
            // Whoever read our output has seen enough.
            Failure::Stream { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => 0,
            _ => 1,
        }
    }

    /// What could be done about it.
    pub fn mend(&self) -> Option<String> {
        let error = match self {
            Failure::Client(error) => error,
            Failure::NotFound { mend, .. } => return Some(mend.clone()),
            _ => return None,
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
            ClientError::UnsupportedVersion { .. } => {
                Some("the broker must be newer, or older, for this command".to_owned())
            }
            ClientError::Timeout { .. } => Some(
                "the broker may be overloaded, or the port may be no Kafka broker's: \
                 `millstream doctor` looks"
                    .to_owned(),
            ),
            _ => match error.code()? {
                ErrorCode::TopicAlreadyExists => {
                    Some("with --if-not-exists that is not an error".to_owned())
                }
                ErrorCode::MessageTooLarge => Some(
                    "write smaller records, or raise max.message.bytes of the topic".to_owned(),
                ),
                ErrorCode::InvalidPartitions => Some(
                    "a topic never has fewer partitions than before: delete it and make it anew"
                        .to_owned(),
                ),
                ErrorCode::InvalidConfig => Some(
                    "`millstream config explain KEY` says what a setting does and takes".to_owned(),
                ),
                ErrorCode::NonEmptyGroup => Some(
                    "stop its members first; `millstream group describe` shows them".to_owned(),
                ),
                ErrorCode::GroupSubscribedToTopic => {
                    Some("stop the members that subscribe to the topic first".to_owned())
                }
                ErrorCode::PolicyViolation => {
                    Some("the broker's rules forbid it: see its settings".to_owned())
                }
                ErrorCode::OffsetOutOfRange => Some(
                    "`millstream topic describe` shows the first and the next offset".to_owned(),
                ),
                ErrorCode::InvalidReplicationFactor => {
                    Some("there cannot be more replicas than brokers".to_owned())
                }
                _ => None,
            },
        }
    }
}

fn client_exit_code(error: &ClientError) -> u8 {
    match error {
        ClientError::UnknownTopic { .. } | ClientError::UnknownPartition { .. } => 3,
        ClientError::Unreachable(_)
        | ClientError::Disconnected { .. }
        | ClientError::Timeout { .. } => 4,
        ClientError::InvalidAddress { .. } => 2,
        ClientError::Broker {
            code:
                ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::GroupIdNotFound
                | ErrorCode::BrokerNotAvailable,
            ..
        } => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_failures_apart() {
        let missing = ClientError::UnknownTopic { topic: "t".into() };
        let unreachable = ClientError::Unreachable(std::rc::Rc::new(Vec::new()));
        let codes = [
            Failure::Partial(String::new()),
            Failure::Usage(String::new()),
            Failure::Client(missing),
            Failure::Client(unreachable),
            Failure::Findings(String::new()),
            Failure::stdout(io::ErrorKind::BrokenPipe.into()),
        ];
        let codes: Vec<u8> = codes.iter().map(Failure::exit_code).collect();
        assert_eq!(codes, [1, 2, 3, 4, 5, 0]);
    }
}
