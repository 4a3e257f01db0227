//! Takes connections from a listener and serves each in a task of its own.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, select};
use millstream_reactor::{Listener, Notify, Reactor, Stream, TaskQueue};
use tracing::warn;

use crate::connection::{ConnectionOptions, Handler, Shared, serve};
use crate::counters::{Counters, add};
use crate::memory_budget::MemoryBudget;
use crate::shutdown::Shutdown;

const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Bounds of an [`Acceptor`].
#[derive(Debug, Clone)]
pub struct AcceptorOptions {
    /// Connections open at once, which may change; more are closed as soon as they come.
    pub max_connections: Rc<Cell<usize>>,
    /// What holds for each connection.
    pub connection: ConnectionOptions,
}

/// The connections of one listener on one shard.
pub struct Acceptor {
    reactor: Reactor,
    options: AcceptorOptions,
    counters: Rc<Counters>,
    shutdown: Shutdown,
    shared: Shared,
    open: Rc<OpenConnections>,
}

#[derive(Default)]
struct OpenConnections {
    count: Cell<usize>,
    closed: Notify,
}

impl Acceptor {
    /// An acceptor that shares `budget` and `counters` with the others of its shard.
    pub fn new(
        reactor: Reactor,
        options: AcceptorOptions,
        budget: MemoryBudget,
        counters: Rc<Counters>,
        shutdown: Shutdown,
    ) -> Acceptor {
        Acceptor {
            shared: Shared::new(reactor.clone(), budget, counters.clone(), shutdown.clone()),
            reactor,
            options,
            counters,
            shutdown,
            open: Rc::default(),
        }
    }

    /// Accepts until the shutdown signal, then waits until every connection has ended, which
    /// takes at most the connections' `drain_timeout` and a second. `make_handler` is called for
    /// each connection with the addresses of its other and of this side.
    pub async fn run<H: Handler + 'static>(
        &self,
        listener: Listener,
        mut make_handler: impl FnMut(SocketAddr, SocketAddr) -> H,
    ) {
        let mut backoff = FIRST_BACKOFF;
        let mut refusing = false;
        while let Some(accepted) = self.until_shutdown(listener.accept()).await {
            match accepted {
                Ok(stream) if self.open.count.get() >= self.options.max_connections.get() => {
                    add(&self.counters.connections_refused, 1);
                    if !std::mem::replace(&mut refusing, true) {
                        self.warn_full(stream.peer_addr());
                    }
                    stream.shutdown();
                }
                Ok(stream) => {
                    backoff = FIRST_BACKOFF;
                    refusing = false;
                    let handler = make_handler(stream.peer_addr(), stream.local_addr());
                    self.spawn(stream, handler);
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    add(&self.counters.accept_errors, 1);
                    warn!(%error, "accepting a connection failed{}", mend(&error));
                    self.until_shutdown(self.reactor.sleep(backoff)).await;
                    backoff = (backoff * 2).min(MAX_BACKOFF);
                }
            }
        }
        drop(listener);
        self.drained().await;
    }

    async fn until_shutdown<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        match select(pin!(self.shutdown.wait()), pin!(future)).await {
            Either::Left(_) => None,
            Either::Right((value, _)) => Some(value),
        }
    }

    fn spawn<H: Handler + 'static>(&self, stream: Stream, handler: H) {
        add(&self.counters.connections_accepted, 1);
        self.open.count.set(self.open.count.get() + 1);
        let open = OpenGuard {
            open: self.open.clone(),
            counters: self.counters.clone(),
        };
        let options = self.options.connection.clone();
        let shared = self.shared.clone();
        let connection = async move {
            let _open = open;
            serve(stream, options, shared, handler).await;
        };
        self.reactor.spawn(TaskQueue::Requests, connection).detach();
    }

    async fn drained(&self) {
        loop {
            let closed = self.open.closed.notified();
            if self.open.count.get() == 0 {
                return;
            }
            closed.await;
        }
    }

    fn warn_full(&self, peer: SocketAddr) {
        let limit = self.options.max_connections.get();
        warn!(
            %peer,
            limit,
            "connections are refused: max.connections are open; \
             this is said again only after one was accepted"
        );
    }
}

/// Counts a connection as closed however its task ends.
struct OpenGuard {
    open: Rc<OpenConnections>,
    counters: Rc<Counters>,
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        add(&self.counters.connections_closed, 1);
        self.open.count.set(self.open.count.get() - 1);
        self.open.closed.notify_waiters();
    }
}

fn mend(error: &io::Error) -> &'static str {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    match error.raw_os_error() {
        Some(EMFILE) => "; this process may open no more files: raise its limit (ulimit -n)",
        Some(ENFILE) => "; the machine may open no more files: raise fs.file-max",
        _ => "",
    }
}
