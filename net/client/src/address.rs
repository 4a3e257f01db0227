//! From `host:port` to addresses of sockets.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;

use futures::channel::oneshot;

use crate::error::{ClientError, Result};

/// Splits `host:port`; the port is 9092 when it is left out. An IPv6 host stands in brackets.
pub fn split_host_port(address: &str) -> Result<(String, u16)> {
    let invalid = || ClientError::InvalidAddress {
        address: address.to_owned(),
    };
    // Kafka's tools accept a listener's name in front, as in PLAINTEXT://host:9092.
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (host, port.parse().map_err(|_| invalid())?),
        _ => (rest, 9092),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains(['/', ' ', ',']) {
        return Err(invalid());
    }
    Ok((host.to_owned(), port))
}

/// The addresses behind a name. A number needs no look-up; a look-up blocks, so it has a thread of
/// its own for as long as it takes.
pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (sender, receiver) = oneshot::channel();
    let name = host.to_owned();
    let looked_up = std::thread::Builder::new()
        .name("resolver".to_owned())
        .spawn(move || {
            let addresses = (name.as_str(), port)
                .to_socket_addrs()
                .map(|addresses| addresses.collect::<Vec<_>>());
            // Whoever asked may have given up.
            let _ = sender.send(addresses);
        });
    let address: Rc<str> = format!("{host}:{port}").into();
    if let Err(error) = looked_up {
        return Err(ClientError::io(&address, &error));
    }
    match receiver.await {
        Ok(Ok(mut addresses)) if !addresses.is_empty() => {
            // Brokers listen on IPv4 more often than on both.
            addresses.sort_by_key(SocketAddr::is_ipv6);
            Ok(addresses)
        }
        Ok(Err(error)) => Err(ClientError::io(&address, &error)),
        Ok(Ok(_)) | Err(_) => Err(ClientError::disconnected(
            &address,
            "the name has no address",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_split() {
        let split = |address: &str| split_host_port(address).expect("it is an address");
        assert_eq!(split("broker:19092"), ("broker".to_owned(), 19092));
        assert_eq!(split("broker"), ("broker".to_owned(), 9092));
        assert_eq!(split("[::1]:9093"), ("::1".to_owned(), 9093));
        assert_eq!(split("PLAINTEXT://10.0.0.1:1"), ("10.0.0.1".to_owned(), 1));
        for wrong in ["", ":9092", "broker:port", "broker:99999", "a b:1"] {
            assert!(split_host_port(wrong).is_err(), "{wrong:?}");
        }
    }
}
