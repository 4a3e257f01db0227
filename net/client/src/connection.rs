//! One connection to one broker: requests pipelined, answers in order.
//!
//! A call is queued as soon as it is made, before its future is polled, so calls leave in the order
//! in which they were made. One task sends what is queued and hands each response to the oldest
//! call that waits. When anything goes wrong the connection is over: every call that waits and
//! every later one gets the same error.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use ahash::AHashMap;
use bytes::Bytes;
use futures::FutureExt;
use futures::channel::oneshot;
use kafka_protocol::protocol::Request;
use millstream_net::{Counters, FrameReader, MemoryBudget};
use millstream_protocol::frame::{decode_response, encode_request, response_correlation_id};
use millstream_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use millstream_protocol::{ErrorCode, StrBytes, api};
use millstream_reactor::{Notify, Reactor, Stream, Task, TaskQueue};

use crate::cluster::Features;
use crate::error::{ClientError, Result};

/// The largest response that is accepted: what one fetch may ask for and some more.
const MAX_RESPONSE_BYTES: usize = 256 * 1024 * 1024;
/// Requests that may wait for answers on one connection.
const MAX_PENDING: usize = 4096;

/// What holds for each connection.
#[derive(Debug, Clone)]
pub struct ConnectionConfig {
    /// The name by which brokers know this client in logs and quotas.
    pub client_id: String,
    /// How long connecting may take, the exchange of versions included.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub request_timeout: Duration,
}

impl Default for ConnectionConfig {
    fn default() -> ConnectionConfig {
        ConnectionConfig {
            client_id: "millstream".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// A connection; clones share it, the last one closes it.
#[derive(Clone)]
pub struct Connection {
    handle: Rc<Handle>,
}

struct Handle {
    inner: Rc<Inner>,
    _task: Task<()>,
}

struct Inner {
    reactor: Reactor,
    address: Rc<str>,
    config: ConnectionConfig,
    stream: Stream,
    versions: RefCell<AHashMap<i16, (i16, i16)>>,
    features: RefCell<Features>,
    next_correlation_id: Cell<i32>,
    outbox: RefCell<Vec<Bytes>>,
    /// Requests put into the outbox so far, and those of them that have left.
    queued: Cell<u64>,
    sent: Cell<u64>,
    /// Told when requests have left, and when the connection fails.
    progress: Notify,
    sender: RefCell<Option<Waker>>,
    pending: RefCell<VecDeque<Pending>>,
    failed: RefCell<Option<ClientError>>,
}

struct Pending {
    correlation_id: i32,
    answer: oneshot::Sender<Result<Bytes>>,
}

impl Connection {
    /// Connects to `address` and learns which versions its broker speaks.
    pub async fn connect(
        reactor: &Reactor,
        address: SocketAddr,
        config: &ConnectionConfig,
    ) -> Result<Connection> {
        let name: Rc<str> = address.to_string().into();
        let timeout = config.connect_timeout;
        let connecting = async {
            let stream = reactor
                .connect(address)
                .await
                .map_err(|error| ClientError::io(&name, &error))?;
            let connection = Connection::start(reactor, name.clone(), stream, config);
            connection.negotiate().await?;
            Ok(connection)
        };
        match reactor.timeout(timeout, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(ClientError::Timeout {
                what: format!("connecting to {name}").into(),
                timeout_ms: millis(timeout),
            }),
        }
    }

    fn start(
        reactor: &Reactor,
        address: Rc<str>,
        stream: Stream,
        config: &ConnectionConfig,
    ) -> Connection {
        let inner = Rc::new(Inner {
            reactor: reactor.clone(),
            address,
            config: config.clone(),
            stream,
            versions: RefCell::default(),
            features: RefCell::default(),
            next_correlation_id: Cell::new(0),
            outbox: RefCell::default(),
            queued: Cell::new(0),
            sent: Cell::new(0),
            progress: Notify::new(),
            sender: RefCell::default(),
            pending: RefCell::default(),
            failed: RefCell::default(),
        });
        let task = reactor.spawn(TaskQueue::Requests, run(inner.clone()));
        Connection {
            handle: Rc::new(Handle { inner, _task: task }),
        }
    }

    /// The broker's address.
    pub fn address(&self) -> &str {
        &self.handle.inner.address
    }

    /// Whether it can still be used.
    pub fn is_open(&self) -> bool {
        self.handle.inner.failed.borrow().is_none()
    }

    /// Every API that the broker speaks by its number, with its oldest and newest version.
    pub fn api_versions(&self) -> BTreeMap<i16, (i16, i16)> {
        let versions = self.handle.inner.versions.borrow();
        versions.iter().map(|(key, range)| (*key, *range)).collect()
    }

    /// The features that the broker tells of.
    pub fn features(&self) -> Features {
        self.handle.inner.features.borrow().clone()
    }

    /// The newest version of `R` that both sides speak.
    pub fn version<R: Request>(&self) -> Result<i16> {
        let inner = &self.handle.inner;
        let versions = inner.versions.borrow();
        let (broker_min, broker_max) = versions.get(&R::KEY).copied().unwrap_or((0, -1));
        let (client_min, client_max) = match api::find(R::KEY) {
            Some(api) => (api.min_version, api.max_version.min(R::VERSIONS.max)),
            None => (0, -1),
        };
        let version = client_max.min(broker_max);
        if version < client_min || version < broker_min {
            return Err(ClientError::UnsupportedVersion {
                address: inner.address.clone(),
                api: api_name(R::KEY),
                client_min,
                client_max,
                broker_min,
                broker_max,
            });
        }
        Ok(version)
    }

    /// Sends `request` in the newest version that both sides speak, and waits for its answer.
    pub fn call<R: Request>(
        &self,
        request: &R,
    ) -> impl Future<Output = Result<R::Response>> + use<R> {
        let sent = self
            .version::<R>()
            .map(|version| self.call_version(request, version, self.request_timeout()));
        async move { sent?.await }
    }

    /// Sends `request` in `version`, and waits for its answer for at most `timeout`.
    pub fn call_version<R: Request>(
        &self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> impl Future<Output = Result<R::Response>> + use<R> {
        let answer = self.handle.inner.send(request, version, true);
        let inner = self.handle.inner.clone();
        async move {
            let answer = answer?.expect("an answer was asked for");
            let body = inner.answer(answer, R::KEY, timeout).await?;
            decode::<R>(&inner.address, body, version)
        }
    }

    /// Sends `request`, to which no answer is due, and waits until it has left.
    pub async fn send<R: Request>(&self, request: &R, version: i16) -> Result<()> {
        let inner = &self.handle.inner;
        inner.send(request, version, false)?;
        let queued = inner.queued.get();
        loop {
            let sent = inner.progress.notified();
            if inner.sent.get() >= queued {
                return Ok(());
            }
            if !self.is_open() {
                return Err(inner.failure());
            }
            sent.await;
        }
    }

    /// How long an answer may take by default.
    pub fn request_timeout(&self) -> Duration {
        self.handle.inner.config.request_timeout
    }

    /// Asks for the versions. A broker that does not know the version of the question answers in
    /// version 0 with those it knows. Only from version 4 on are features told that begin at level
    /// 0 (KIP-1022), and from version 3 on any.
    async fn negotiate(&self) -> Result<()> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("millstream"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let mut response = self.ask_api_versions(&request, 4).await?;
        if response.error_code == ErrorCode::UnsupportedVersion.code() {
            let known = response.api_keys.iter();
            let known = known.filter(|api| api.api_key == ApiVersionsRequest::KEY);
            let newest = known.map(|api| api.max_version).max().unwrap_or(0);
            response = match newest {
                3.. => self.ask_api_versions(&request, 3).await?,
                _ => {
                    self.ask_api_versions(&ApiVersionsRequest::default(), 0)
                        .await?
                }
            };
        }
        ClientError::check(
            || format!("ApiVersions at {}", self.address()),
            response.error_code,
            None,
        )?;
        let versions = response
            .api_keys
            .iter()
            .map(|api| (api.api_key, (api.min_version, api.max_version)))
            .collect();
        *self.handle.inner.versions.borrow_mut() = versions;
        *self.handle.inner.features.borrow_mut() = Features::of(&response);
        Ok(())
    }

    async fn ask_api_versions(
        &self,
        request: &ApiVersionsRequest,
        version: i16,
    ) -> Result<ApiVersionsResponse> {
        let inner = &self.handle.inner;
        let answer = inner
            .send(request, version, true)?
            .expect("an answer was asked for");
        let frame = inner
            .answer(
                answer,
                ApiVersionsRequest::KEY,
                inner.config.connect_timeout,
            )
            .await?;
        // After the correlation id comes the code, and a broker that does not know the version
        // goes on in version 0.
        let code = frame
            .get(4..6)
            .map(|code| i16::from_be_bytes([code[0], code[1]]));
        let version = match code {
            Some(code) if code == ErrorCode::UnsupportedVersion.code() => 0,
            _ => version,
        };
        decode::<ApiVersionsRequest>(&inner.address, frame, version)
    }
}

impl Inner {
    fn send<R: Request>(
        &self,
        request: &R,
        version: i16,
        answered: bool,
    ) -> Result<Option<oneshot::Receiver<Result<Bytes>>>> {
        if let Some(error) = &*self.failed.borrow() {
            return Err(error.clone());
        }
        if self.pending.borrow().len() >= MAX_PENDING {
            return Err(ClientError::Misuse(
                "more requests are in flight on one connection than this client allows",
            ));
        }
        let correlation_id = self.next_correlation_id.get();
        self.next_correlation_id.set(correlation_id.wrapping_add(1));
        let client_id = Some(self.config.client_id.as_str());
        let frame =
            encode_request(correlation_id, client_id, version, request).map_err(|error| {
                let what = format!("the {} request", api_name(R::KEY));
                malformed(&what, &self.address, &error)
            })?;
        let answer = answered.then(|| {
            let (answer, receiver) = oneshot::channel();
            self.pending.borrow_mut().push_back(Pending {
                correlation_id,
                answer,
            });
            receiver
        });
        self.outbox.borrow_mut().push(frame);
        self.queued.set(self.queued.get() + 1);
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
        Ok(answer)
    }

    /// A response, which begins with its correlation id.
    async fn answer(
        &self,
        answer: oneshot::Receiver<Result<Bytes>>,
        api_key: i16,
        timeout: Duration,
    ) -> Result<Bytes> {
        match self.reactor.timeout(timeout, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.failure()),
            Err(_) => {
                let error = ClientError::Timeout {
                    what: format!("{} at {}", api_name(api_key), self.address).into(),
                    timeout_ms: millis(timeout),
                };
                // Answers come in order: whoever waits behind this one would wait as long.
                self.fail(error.clone());
                Err(error)
            }
        }
    }

    fn failure(&self) -> ClientError {
        self.failed
            .borrow()
            .clone()
            .unwrap_or_else(|| ClientError::disconnected(&self.address, "closed"))
    }

    fn fail(&self, error: ClientError) {
        self.failed.borrow_mut().get_or_insert(error);
        self.stream.shutdown();
        let error = self.failure();
        for pending in self.pending.take() {
            // Whoever asked may have given up.
            let _ = pending.answer.send(Err(error.clone()));
        }
        self.progress.notify_waiters();
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
    }
}

/// Sends and receives until the connection fails.
async fn run(inner: Rc<Inner>) {
    let error = {
        let mut sending = pin!(send_requests(&inner).fuse());
        let mut receiving = pin!(receive_responses(&inner).fuse());
        futures::select_biased! {
            error = sending => error,
            error = receiving => error,
        }
    };
    inner.fail(error);
}

async fn send_requests(inner: &Inner) -> ClientError {
    loop {
        let requests = poll_fn(|cx| {
            let requests = inner.outbox.take();
            if requests.is_empty() {
                inner.sender.replace(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            Poll::Ready(requests)
        })
        .await;
        let count = requests.len() as u64;
        if let Err(error) = inner.stream.send(requests).await {
            return ClientError::disconnected(&inner.address, error);
        }
        inner.sent.set(inner.sent.get() + count);
        inner.progress.notify_waiters();
    }
}

async fn receive_responses(inner: &Inner) -> ClientError {
    // A client has no budget of its own: it gets no more than it has asked for.
    let budget = MemoryBudget::new(usize::MAX);
    let counters = Rc::new(Counters::default());
    let mut frames = FrameReader::for_responses(MAX_RESPONSE_BYTES, budget, counters);
    loop {
        let response = match frames.next(&inner.stream).await {
            Ok(Some(frame)) => frame.into_parts().0,
            Ok(None) => {
                return ClientError::disconnected(&inner.address, "the broker closed it");
            }
            Err(error) => return ClientError::disconnected(&inner.address, error),
        };
        let correlation_id = match response_correlation_id(&response) {
            Ok(correlation_id) => correlation_id,
            Err(error) => return ClientError::disconnected(&inner.address, error),
        };
        let Some(pending) = inner.pending.borrow_mut().pop_front() else {
            return ClientError::disconnected(&inner.address, "an answer that nobody asked for");
        };
        if pending.correlation_id != correlation_id {
            let cause = format!(
                "the answer to request {correlation_id} where that to {} was due",
                pending.correlation_id
            );
            return ClientError::disconnected(&inner.address, cause);
        }
        // Whoever asked may have given up.
        let _ = pending.answer.send(Ok(response));
    }
}

fn decode<R: Request>(address: &Rc<str>, frame: Bytes, version: i16) -> Result<R::Response> {
    decode_response::<R>(version, frame).map_err(|error| {
        let what = format!("the {} response", api_name(R::KEY));
        malformed(&what, address, &error)
    })
}

fn malformed(what: &str, address: &Rc<str>, cause: &dyn std::fmt::Display) -> ClientError {
    ClientError::Malformed {
        what: what.into(),
        address: address.clone(),
        cause: cause.to_string().into(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Kafka's name of a request.
fn api_name(api_key: i16) -> String {
    match ApiKey::try_from(api_key) {
        Ok(key) => format!("{key:?}"),
        Err(()) => format!("API {api_key}"),
    }
}
