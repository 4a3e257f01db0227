//! Inputs for the handlers of a whole node.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use millstream_protocol::api::{APIS, Api};
use millstream_protocol::messages::ApiKey;
use millstream_reactor::{Reactor, Stream};

use crate::harness::{Cluster, batch, create_topic, find_coordinator, metadata, newest, produce};

/// Requests of one input that are sent.
const MOST_REQUESTS: usize = 32;
/// Virtual time in which most requests are answered.
const A_WHILE: Duration = Duration::from_secs(15);

/// Requests sent to a node, on two connections in turns, whether answered or not: each one byte
/// for the API, one for its version, two for the length of the body, and the body. Afterwards the
/// node stops in good order, starts again and answers.
pub fn handlers(data: &[u8]) {
    let requests = frames(data);
    if requests.is_empty() {
        return;
    }
    let mut cluster = Cluster::new(&[]);
    cluster.run(async move |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 2, &[]).await;
        find_coordinator(&connection, "g").await;
        produce(&connection, "t", 0, batch(&["a", "b"])).await;
        send_all(&client.reactor, client.address, requests).await;
    });
    cluster.restart();
    cluster.run(async move |client| {
        // One of the requests may have lowered the number of connections.
        if let Ok(connection) = client.try_connect().await {
            metadata(&connection, newest(ApiKey::Metadata), None).await;
        }
    });
}

async fn send_all(reactor: &Reactor, address: SocketAddr, requests: Vec<Bytes>) {
    let mut streams: [Option<Stream>; 2] = [None, None];
    for (number, request) in requests.into_iter().enumerate() {
        let stream = &mut streams[number % 2];
        let sent = match stream {
            Some(stream) => stream.send(vec![request.clone()]).await.is_ok(),
            None => false,
        };
        if sent {
            reactor.yield_now().await;
            continue;
        }
        // The node ended the one before, or there is none yet.
        *stream = reactor.connect(address).await.ok();
        if let Some(stream) = stream {
            let _ = stream.send(vec![request]).await;
        }
    }
    reactor.sleep(A_WHILE).await;
}

/// The frames of an input, with their lengths before them.
fn frames(mut data: &[u8]) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while let [api, version, high, low, rest @ ..] = data
        && frames.len() < MOST_REQUESTS
    {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (body, rest) = rest.split_at(length);
        frames.push(frame(*api, *version, body));
        data = rest;
    }
    frames
}

fn frame(api: u8, version: u8, body: &[u8]) -> Bytes {
    let api: &Api = &APIS[usize::from(api) % APIS.len()];
    let version = api.min_version + i16::from(version) % (api.max_version - api.min_version + 1);
    let mut frame = BytesMut::new();
    frame.put_i16(api.id());
    frame.put_i16(version);
    frame.put_i32(1);
    frame.put_i16(-1);
    if api.request_header_is_flexible(version) {
        frame.put_u8(0);
    }
    frame.put_slice(body);
    let mut sent = BytesMut::with_capacity(4 + frame.len());
    sent.put_i32(i32::try_from(frame.len()).expect("two bytes tell the length"));
    sent.put_slice(&frame);
    sent.freeze()
}
