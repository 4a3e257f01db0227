//! A broker as the cluster knows it.

use millstream_protocol::NodeId;
use rkyv::{Archive, Deserialize, Serialize};
use uuid::Uuid;

use crate::archive::{NodeIdArchive, UuidArchive};

/// How the two ends of a listener speak, with Kafka's numbers.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize,
)]
#[repr(u8)]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    Plaintext = 0,
    /// TLS.
    Ssl = 1,
    /// SASL without encryption.
    SaslPlaintext = 2,
    /// SASL over TLS.
    SaslSsl = 3,
}

/// Where one listener of a broker is reached.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Endpoint {
    /// The listener's name, upper case.
    pub listener: String,
    /// The host it advertises.
    pub host: String,
    /// The port it advertises.
    pub port: u16,
    /// What is spoken there.
    pub security_protocol: SecurityProtocol,
}

/// One registration of a broker. A broker that starts again registers anew.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct BrokerRegistration {
    /// Which broker.
    #[rkyv(with = NodeIdArchive)]
    pub node_id: NodeId,
    /// Which run of it: chosen at random when the process starts.
    #[rkyv(with = UuidArchive)]
    pub incarnation_id: Uuid,
    /// Which registration: grows with each incarnation of any broker.
    pub epoch: i64,
    /// Where it listens for clients and for brokers.
    pub endpoints: Vec<Endpoint>,
    /// Where it stands, for placement and for reading from the nearest replica.
    pub rack: Option<String>,
    /// A fenced broker leads nothing and joins no ISR.
    pub fenced: bool,
}

impl BrokerRegistration {
    /// Where the listener of that name is reached.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints
            .iter()
            .find(|endpoint| endpoint.listener == listener)
    }
}
