//! A server whose requests say themselves how they want to be answered, and a raw client.
//!
//! ```text
//! request:  api key i16 | version i16 | correlation id i32 | delay in ms u32 | reply size u32 | padding
//! response: correlation id i32 | zeros up to the reply size
//! ```

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use millstream_net::{
    Acceptor, AcceptorOptions, ConnectionOptions, Counters, MemoryBudget, Reply, RequestFrame,
    Shutdown,
};
use millstream_reactor::sim::{Node, Simulation};
use millstream_reactor::{Reactor, Stream, Task, TaskQueue};

pub const PRODUCE: i16 = 0;
pub const FETCH: i16 = 1;
/// Answered by nothing, as a produce request with acks=0 is.
pub const SILENT: i16 = 100;
/// Answered by closing the connection.
pub const CLOSING: i16 = 101;

/// What the server has seen.
#[derive(Default)]
pub struct Seen {
    pub started: RefCell<Vec<i32>>,
    pub in_flight: Cell<usize>,
    pub max_in_flight: Cell<usize>,
    pub in_flight_bytes: Cell<usize>,
    pub max_in_flight_bytes: Cell<usize>,
}

pub struct Server {
    pub sim: Simulation,
    pub node: Node,
    pub address: SocketAddr,
    pub counters: Rc<Counters>,
    pub shutdown: Shutdown,
    pub seen: Rc<Seen>,
    pub acceptor: Option<Task<()>>,
}

pub fn options() -> AcceptorOptions {
    AcceptorOptions {
        max_connections: Rc::new(Cell::new(100)),
        connection: ConnectionOptions {
            max_frame_bytes: 1024 * 1024,
            max_idle: Duration::from_secs(60),
            ..ConnectionOptions::default()
        },
    }
}

impl Server {
    pub fn start(sim: Simulation, options: AcceptorOptions, budget: usize) -> Server {
        let node = sim.add_node("server");
        let address = node.address(9092);
        let counters = Rc::new(Counters::default());
        let shutdown = Shutdown::new();
        let seen = Rc::new(Seen::default());
        let reactor = node.reactor();
        let listener = sim
            .block_on(reactor.listen(address))
            .expect("the port is free");
        let acceptor = Acceptor::new(
            reactor.clone(),
            options,
            MemoryBudget::new(budget),
            counters.clone(),
            shutdown.clone(),
        );
        let task = {
            let (reactor, seen) = (reactor.clone(), seen.clone());
            reactor.clone().spawn(TaskQueue::Requests, async move {
                let handler = |_, _| {
                    let (reactor, seen) = (reactor.clone(), seen.clone());
                    move |frame| answer(&reactor, &seen, frame)
                };
                acceptor.run(listener, handler).await;
            })
        };
        Server {
            sim,
            node,
            address,
            counters,
            shutdown,
            seen,
            acceptor: Some(task),
        }
    }

    /// Connects from a machine of its own.
    pub fn connect(&self) -> Client {
        let node = self.sim.add_node("client");
        let reactor = node.reactor();
        let stream = self.sim.block_on(reactor.connect(self.address));
        Client {
            node,
            stream: Rc::new(stream.expect("the server listens")),
        }
    }
}

/// Starts a request as it asks for.
pub fn answer(
    reactor: &Reactor,
    seen: &Rc<Seen>,
    frame: RequestFrame,
) -> LocalBoxFuture<'static, Reply> {
    let api_key = frame.api_key();
    let mut body = frame.bytes().slice(4..);
    let correlation_id = body.get_i32();
    let delay = Duration::from_millis(u64::from(body.get_u32()));
    let size = body.get_u32() as usize;
    assert!(
        body.iter().all(|byte| *byte == correlation_id as u8),
        "bytes of another frame"
    );

    seen.started.borrow_mut().push(correlation_id);
    let held = Held::new(seen.clone(), frame.bytes().len());
    let reactor = reactor.clone();
    async move {
        let _frame = frame;
        let _held = held;
        reactor.sleep(delay).await;
        match api_key {
            SILENT => Reply::Nothing,
            CLOSING => Reply::Close {
                reason: "as the request asks".into(),
            },
            _ => {
                let mut reply = BytesMut::new();
                reply.put_u32(4 + size as u32);
                reply.put_i32(correlation_id);
                reply.resize(8 + size, 0);
                Reply::bytes(reply.freeze())
            }
        }
    }
    .boxed_local()
}

struct Held {
    seen: Rc<Seen>,
    bytes: usize,
}

impl Held {
    fn new(seen: Rc<Seen>, bytes: usize) -> Held {
        seen.in_flight.set(seen.in_flight.get() + 1);
        seen.max_in_flight
            .set(seen.max_in_flight.get().max(seen.in_flight.get()));
        seen.in_flight_bytes.set(seen.in_flight_bytes.get() + bytes);
        let max = seen
            .max_in_flight_bytes
            .get()
            .max(seen.in_flight_bytes.get());
        seen.max_in_flight_bytes.set(max);
        Held { seen, bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let seen = &self.seen;
        seen.in_flight.set(seen.in_flight.get() - 1);
        seen.in_flight_bytes
            .set(seen.in_flight_bytes.get() - self.bytes);
    }
}

/// A request, its length in front.
pub fn request(
    api_key: i16,
    correlation_id: i32,
    delay_ms: u32,
    reply: u32,
    padding: usize,
) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u32(16 + padding as u32);
    frame.put_i16(api_key);
    frame.put_i16(0);
    frame.put_i32(correlation_id);
    frame.put_u32(delay_ms);
    frame.put_u32(reply);
    frame.resize(20 + padding, correlation_id as u8);
    frame.freeze()
}

pub struct Client {
    pub node: Node,
    pub stream: Rc<Stream>,
}

impl Client {
    /// Sends on a task of its own, as far as the server takes it.
    pub fn send(&self, parts: Vec<Bytes>) {
        let stream = self.stream.clone();
        let sending = async move {
            // The server may close the connection while it is sent.
            let _ = stream.send(parts).await;
        };
        self.node
            .reactor()
            .spawn(TaskQueue::Requests, sending)
            .detach();
    }

    /// The correlation id of the next response; `None` when the connection has ended.
    pub async fn response(&self) -> Option<i32> {
        let head = self.stream.recv_exact(BytesMut::new(), 8).await.ok()?;
        let (len, correlation_id) = ((&head[..4]).get_u32() as usize, (&head[4..]).get_i32());
        let body = self
            .stream
            .recv_exact(BytesMut::new(), len - 4)
            .await
            .ok()?;
        assert!(body.iter().all(|byte| *byte == 0));
        Some(correlation_id)
    }

    /// The correlation ids of all responses until the connection ends.
    pub async fn responses(&self) -> Vec<i32> {
        let mut ids = Vec::new();
        while let Some(id) = self.response().await {
            ids.push(id);
        }
        ids
    }
}
