//! What the node tells of itself: metrics, and whether it is alive and ready.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::harness::{
    Client, Cluster, METRICS_PORT, batch, call, create_topic, fetch_request, produce, values,
};

/// What the node answers to these bytes: the status line and the body.
async fn exchange(client: &Client, request: &'static [u8]) -> (String, String) {
    let address = SocketAddr::new(client.address.ip(), METRICS_PORT);
    let stream = client.reactor.connect(address).await.expect("it listens");
    let sent = stream.send(vec![Bytes::from_static(request)]).await;
    sent.expect("it is taken");
    let mut answer = Vec::new();
    loop {
        let piece = stream.recv().await.expect("it answers");
        if piece.is_empty() {
            break;
        }
        answer.extend_from_slice(&piece);
    }
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.lines().next().expect("a status line");
    let length = format!("content-length: {}", body.len());
    assert!(head.lines().any(|line| line == length), "{head}");
    (status.to_owned(), body.to_owned())
}

/// The value of a sample.
fn value(metrics: &str, sample: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(sample));
    let line = line.unwrap_or_else(|| panic!("no {sample} in\n{metrics}"));
    line.trim().parse().expect("a number")
}

#[test]
fn metrics_count_what_was_done() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 2, &[]).await;
        for partition in [0, 1] {
            let kept = produce(&connection, "t", partition, batch(&["a", "b", "c"])).await;
            assert_eq!(kept.error_code, 0);
        }
        let answer = call(&connection, 12, &fetch_request("t", 1, 0)).await;
        assert_eq!(values(&answer).len(), 3);

        let (status, metrics) =
            exchange(&client, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        let of_topic =
            |name: &str| value(&metrics, &format!("millstream_topic_{name}{{topic=\"t\"}}"));
        assert_eq!(of_topic("partitions"), 2.0);
        assert_eq!(of_topic("offline_partitions"), 0.0);
        assert_eq!(of_topic("produced_records_total"), 6.0);
        assert_eq!(of_topic("produced_bytes_total"), of_topic("size_bytes"));
        assert_eq!(
            of_topic("fetched_bytes_total") * 2.0,
            of_topic("size_bytes")
        );
        let total = "millstream_request_duration_seconds_count{api=\"Produce\",phase=\"total\"}";
        assert_eq!(value(&metrics, total), 2.0);
        // Each sample belongs to the family announced before it.
        let mut family = "";
        for line in metrics.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(announced) => family = announced.split(' ').next().expect("a name"),
                None if line.starts_with('#') => {}
                None => assert!(line.starts_with(family), "{line} in {family}"),
            }
        }
    });
}

#[test]
fn health_and_readiness_are_told_and_other_requests_refused() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        for (request, expected) in [
            (&b"GET /healthz HTTP/1.1\r\n\r\n"[..], "200 OK"),
            (b"GET /readyz?verbose=1 HTTP/1.0\r\n\r\n", "200 OK"),
            (b"GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
            (b"\x00\x00\x00\x01", "400 Bad Request"),
        ] {
            let (status, _) = exchange(&client, request).await;
            assert_eq!(status, format!("HTTP/1.1 {expected}"));
        }
    });
}
