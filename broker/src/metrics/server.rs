//! The port on which the node tells of itself, over HTTP: `/metrics` for Prometheus, `/healthz` for
//! whether its shards answer, `/readyz` for whether it takes clients.
//!
//! One request for each connection, and few connections at a time.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use httparse::{Request, Status};
use millstream_reactor::{Listener, Stream, TaskQueue};
use tracing::{debug, warn};

use super::exposition::CONTENT_TYPE;
use super::rendering::render;
use crate::shard::Shard;

/// Connections served at a time; more wait in the listener's queue.
const CONNECTIONS_MAX: usize = 32;
/// Bytes of a request's head.
const HEAD_MAX: usize = 8 * 1024;
/// Header lines of a request.
const HEADERS_MAX: usize = 64;
/// How long a client may take to send its request and to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the shards may take to answer before the node counts as ill.
const ILL_AFTER: Duration = Duration::from_secs(2);
/// Pause after a failure to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether the node takes clients.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    ready: Rc<Cell<bool>>,
}

impl Readiness {
    /// Says so.
    pub fn set(&self, ready: bool) {
        self.ready.set(ready);
    }
}

/// Serves until it is dropped.
pub async fn serve_metrics(shard: Rc<Shard>, listener: Listener, readiness: Readiness) {
    let open = Rc::new(Cell::new(0_usize));
    loop {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(cause) => {
                warn!("metrics.listener cannot accept a connection: {cause}");
                shard.reactor().sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if open.get() >= CONNECTIONS_MAX {
            stream.shutdown();
            continue;
        }
        open.set(open.get() + 1);
        let (shard, readiness, open) = (shard.clone(), readiness.clone(), open.clone());
        let reactor = shard.reactor().clone();
        let serve = async move {
            let peer = stream.peer_addr();
            let exchange = exchange(&shard, &stream, &readiness);
            match shard.reactor().timeout(PATIENCE, exchange).await {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => log_broken(peer, &cause.to_string()),
                Err(_) => log_broken(peer, "it took too long"),
            }
            open.set(open.get() - 1);
        };
        reactor.spawn(TaskQueue::Requests, serve).detach();
    }
}

fn log_broken(peer: SocketAddr, cause: &str) {
    debug!(%peer, "a request for metrics was not answered: {cause}");
}

async fn exchange(shard: &Rc<Shard>, stream: &Stream, readiness: &Readiness) -> io::Result<()> {
    let mut head = BytesMut::new();
    let answer = loop {
        let piece = stream.recv().await?;
        if piece.is_empty() {
            return Ok(());
        }
        head.extend_from_slice(&piece);
        match requested(&head) {
            Requested::Path(path) => break answer(shard, readiness, &path).await,
            Requested::More if head.len() <= HEAD_MAX => {}
            Requested::More => break Answer::text(431, "the head is too long\n"),
            Requested::Other => break Answer::text(405, "only GET is answered\n"),
            Requested::Invalid => break Answer::text(400, "this is no HTTP request\n"),
        }
    };
    stream.send(answer.into_parts()).await?;
    stream.finish();
    Ok(())
}

/// What the bytes received so far ask for.
enum Requested {
    Path(String),
    More,
    Other,
    Invalid,
}

fn requested(head: &[u8]) -> Requested {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    match request.parse(head) {
        Err(_) => Requested::Invalid,
        Ok(Status::Partial) => Requested::More,
        Ok(Status::Complete(_)) => match (request.method, request.path) {
            (Some("GET"), Some(path)) => {
                let path = path.split('?').next().unwrap_or(path);
                Requested::Path(path.to_owned())
            }
            _ => Requested::Other,
        },
    }
}

async fn answer(shard: &Rc<Shard>, readiness: &Readiness, path: &str) -> Answer {
    match path {
        "/metrics" => match shard
            .reactor()
            .timeout(ILL_AFTER, shard.all_metrics())
            .await
        {
            Ok(metrics) => Answer {
                status: 200,
                content_type: CONTENT_TYPE,
                body: render(&metrics),
            },
            Err(_) => Answer::text(503, "a shard does not answer\n"),
        },
        "/healthz" => match shard.reactor().timeout(ILL_AFTER, shard.all_answer()).await {
            Ok(true) => Answer::text(200, "ok\n"),
            Ok(false) | Err(_) => Answer::text(503, "a shard does not answer\n"),
        },
        "/readyz" if readiness.ready.get() => Answer::text(200, "ok\n"),
        "/readyz" => Answer::text(503, "starting or stopping\n"),
        _ => Answer::text(404, "there are /metrics, /healthz and /readyz\n"),
    }
}

struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
}

impl Answer {
    fn text(status: u16, body: &str) -> Answer {
        Answer {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.to_owned(),
        }
    }

    fn into_parts(self) -> Vec<Bytes> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let mut head = String::new();
        write!(
            head,
            "HTTP/1.1 {} {reason}\r\ncontent-type: {}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            self.status,
            self.content_type,
            self.body.len()
        )
        .expect("a string takes what is written");
        vec![head.into(), self.body.into()]
    }
}
