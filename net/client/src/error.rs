//! What can go wrong for a client.

use std::io;
use std::rc::Rc;

use millstream_protocol::ErrorCode;
use thiserror::Error;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, ClientError>;

/// Why a call failed. Cheap to clone: the failure of a connection is told to all that wait on it.
#[derive(Debug, Clone, Error)]
pub enum ClientError {
    /// No bootstrap server could be reached.
    #[error("no broker answers at {}", .0.join("; "))]
    Unreachable(Rc<Vec<String>>),
    /// An address cannot be used as one.
    #[error("{address:?} is not an address: write host:port")]
    InvalidAddress {
        /// The address as given.
        address: String,
    },
    /// The connection failed or was closed.
    #[error("connection to {address}: {cause}")]
    Disconnected {
        /// The broker's address.
        address: Rc<str>,
        /// What happened to it.
        cause: Rc<str>,
    },
    /// No answer came in time.
    #[error("{what} got no answer within {timeout_ms} ms")]
    Timeout {
        /// What was asked for.
        what: Rc<str>,
        /// The time that was allowed.
        timeout_ms: u64,
    },
    /// The broker does not speak a request, or no version of it that this client speaks.
    #[error(
        "{address} does not speak a version of {api} that this client does \
         (client {}, broker {})",
        versions(*client_min, *client_max), versions(*broker_min, *broker_max)
    )]
    UnsupportedVersion {
        /// The broker's address.
        address: Rc<str>,
        /// The request.
        api: String,
        /// The client's oldest version.
        client_min: i16,
        /// The client's newest version.
        client_max: i16,
        /// The broker's oldest version; 0 to −1 when it has none.
        broker_min: i16,
        /// The broker's newest version.
        broker_max: i16,
    },
    /// A request could not be encoded, or a response not be decoded.
    #[error("{what} from or for {address} is malformed: {cause}")]
    Malformed {
        /// Which message.
        what: Rc<str>,
        /// The broker's address.
        address: Rc<str>,
        /// What is wrong with it.
        cause: Rc<str>,
    },
    /// The broker answered with an error code.
    #[error("{what}: {code} (code {}){}", .code.code(), detail(.message))]
    Broker {
        /// What was asked for.
        what: Rc<str>,
        /// The code.
        code: ErrorCode,
        /// What the broker says to it.
        message: Option<Rc<str>>,
    },
    /// No topic has this name.
    #[error("topic {topic:?} does not exist")]
    UnknownTopic {
        /// The name.
        topic: Rc<str>,
    },
    /// The topic has no such partition.
    #[error("topic {topic:?} has no partition {partition}: it has {count}, numbered from 0")]
    UnknownPartition {
        /// The topic.
        topic: Rc<str>,
        /// The partition that was asked for.
        partition: i32,
        /// How many there are.
        count: usize,
    },
    /// A record batch could not be read or written.
    #[error("records of {topic}-{partition} at offset {offset}: {cause}")]
    Records {
        /// The topic.
        topic: Rc<str>,
        /// The partition.
        partition: i32,
        /// Where.
        offset: i64,
        /// What is wrong with them.
        cause: Rc<str>,
    },
    /// The call was made in a state that does not allow it.
    #[error("{0}")]
    Misuse(&'static str),
}

impl ClientError {
    /// An error of the broker's, unless `code` means success.
    pub(crate) fn check(what: impl Fn() -> String, code: i16, message: Option<&str>) -> Result<()> {
        match ErrorCode::try_from_code(code) {
            None => Ok(()),
            Some(code) => Err(ClientError::Broker {
                what: what().into(),
                code,
                message: message.map(Rc::from),
            }),
        }
    }

    /// An answer that leaves out what was asked for.
    pub(crate) fn unanswered(what: &str) -> ClientError {
        ClientError::Broker {
            what: what.into(),
            code: ErrorCode::UnknownServerError,
            message: Some("the broker's answer does not mention it".into()),
        }
    }

    /// Whether the same call may succeed later, perhaps at another broker.
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Unreachable(_)
            | ClientError::Disconnected { .. }
            | ClientError::Timeout { .. } => true,
            ClientError::Broker { code, .. } => code.is_retriable(),
            _ => false,
        }
    }

    /// The broker's code, if it is one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Broker { code, .. } => Some(*code),
            _ => None,
        }
    }

    pub(crate) fn disconnected(address: &Rc<str>, cause: impl ToString) -> ClientError {
        ClientError::Disconnected {
            address: address.clone(),
            cause: cause.to_string().into(),
        }
    }

    pub(crate) fn io(address: &str, error: &io::Error) -> ClientError {
        ClientError::Disconnected {
            address: address.into(),
            cause: error.to_string().into(),
        }
    }
}

fn versions(min: i16, max: i16) -> String {
    match min > max {
        true => "none".to_owned(),
        false => format!("{min} to {max}"),
    }
}

fn detail(message: &Option<Rc<str>>) -> String {
    match message {
        Some(message) if !message.is_empty() => format!(": {message}"),
        _ => String::new(),
    }
}
