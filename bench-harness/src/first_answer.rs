//! The time until a broker answers.

use std::net::SocketAddr;
use std::time::Duration;

use millstream_client::{Connection, ConnectionConfig};
use millstream_protocol::messages::MetadataRequest;
use millstream_reactor::Reactor;

use crate::failure::Failure;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(1);

/// Tries until a Metadata request is answered with a broker in it.
pub async fn wait(reactor: &Reactor, address: SocketAddr, within: Duration) -> Result<(), Failure> {
    let began = reactor.now();
    let config = ConnectionConfig::default();
    while reactor.now() - began < within {
        if let Ok(connection) = Connection::connect(reactor, address, &config).await
            && let Ok(answer) = connection.call(&MetadataRequest::default()).await
            && !answer.brokers.is_empty()
        {
            println!("{:.1}", (reactor.now() - began).as_secs_f64() * 1e3);
            return Ok(());
        }
        reactor.sleep(PAUSE).await;
    }
    Err(Failure::Late {
        what: "an answer to Metadata",
        within,
    })
}
