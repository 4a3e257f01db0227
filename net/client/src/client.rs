//! A cluster as a client sees it: connections to its brokers, and who leads what.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use futures::lock::Mutex;
use millstream_protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use millstream_protocol::messages::metadata_request::MetadataRequestTopic;
use millstream_protocol::messages::{MetadataRequest, TopicName};
use millstream_protocol::{ErrorCode, StrBytes};
use millstream_reactor::Reactor;

use crate::address::{resolve, split_host_port};
use crate::backoff::Backoff;
use crate::connection::{Connection, ConnectionConfig};
use crate::error::{ClientError, Result};
use crate::metadata::{Broker, Metadata, TopicMetadata};

/// How long a topic that seems not to exist is asked for again: it may just have been created.
const UNKNOWN_TOPIC_PATIENCE: Duration = Duration::from_millis(500);

/// How a client finds and treats its cluster.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Addresses of some brokers, `host:port`.
    pub bootstrap_servers: Vec<String>,
    /// What holds for each connection.
    pub connection: ConnectionConfig,
    /// How long a call may take with all its attempts.
    pub api_timeout: Duration,
}

impl ClientConfig {
    /// The defaults, and these addresses, which may be several with commas between.
    pub fn new(bootstrap_servers: &str) -> ClientConfig {
        ClientConfig {
            bootstrap_servers: bootstrap_servers
                .split(',')
                .map(|address| address.trim().to_owned())
                .filter(|address| !address.is_empty())
                .collect(),
            connection: ConnectionConfig::default(),
            api_timeout: Duration::from_secs(60),
        }
    }
}

/// What a connection is for. Requests on one connection are answered one after another, so those
/// that wait on purpose have connections of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Short questions, and produce requests.
    Control,
    /// Fetches, which wait for data.
    Fetch,
    /// A group's coordinator, which lets members wait for each other.
    Coordinator,
}

/// A client of one cluster. Clones share its connections and what it knows.
#[derive(Clone)]
pub struct Client {
    inner: Rc<Inner>,
}

type ConnectionKey = (String, u16, Purpose);

struct Inner {
    reactor: Reactor,
    config: ClientConfig,
    metadata: RefCell<Metadata>,
    connections: RefCell<BTreeMap<ConnectionKey, Rc<Mutex<Option<Connection>>>>>,
}

impl Client {
    /// Connects to the first bootstrap server that answers.
    pub async fn connect(reactor: &Reactor, config: ClientConfig) -> Result<Client> {
        let client = Client {
            inner: Rc::new(Inner {
                reactor: reactor.clone(),
                config,
                metadata: RefCell::default(),
                connections: RefCell::default(),
            }),
        };
        client.bootstrap().await?;
        Ok(client)
    }

    /// The reactor it runs on.
    pub fn reactor(&self) -> &Reactor {
        &self.inner.reactor
    }

    /// What it was made with.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// What is known of the cluster now.
    pub fn metadata(&self) -> Metadata {
        self.inner.metadata.borrow().clone()
    }

    /// Asks for the brokers and for `topics`; with `None`, for all topics.
    pub async fn refresh(&self, topics: Option<&[Rc<str>]>, create: bool) -> Result<Metadata> {
        let connection = self.any_broker().await?;
        let version = connection.version::<MetadataRequest>()?;
        let named =
            |name: &Rc<str>| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let mut request = MetadataRequest::default();
        // In version 0 an empty list, later a null one, means all.
        request.topics = match topics {
            Some(topics) => Some(topics.iter().map(named).collect()),
            None => (version == 0).then(Vec::new),
        };
        request.allow_auto_topic_creation = create || version < 4;
        let response = connection
            .call_version(&request, version, connection.request_timeout())
            .await?;
        ClientError::check(|| "Metadata".to_owned(), response.error_code, None)?;
        let mut metadata = self.inner.metadata.borrow_mut();
        if topics.is_none() {
            metadata.topics.clear();
        }
        metadata.update(response);
        Ok(metadata.clone())
    }

    /// A topic whose partitions have leaders; asked for until it has, or seems not to exist.
    pub async fn topic(&self, name: &str, create: bool) -> Result<TopicMetadata> {
        if let Some(topic) = self.inner.metadata.borrow().topics.get(name)
            && topic.is_ready()
        {
            return Ok(topic.clone());
        }
        self.refreshed_topic(name, create).await
    }

    /// Like [`Client::topic`], but asks even if the topic is known.
    pub async fn refreshed_topic(&self, name: &str, create: bool) -> Result<TopicMetadata> {
        let name: Rc<str> = name.into();
        let patience = match create {
            true => self.inner.config.api_timeout,
            false => UNKNOWN_TOPIC_PATIENCE,
        };
        let mut unknown = Backoff::new(&self.inner.reactor, patience);
        let mut leaderless = Backoff::new(&self.inner.reactor, self.inner.config.api_timeout);
        loop {
            let metadata = self
                .retry(async || {
                    self.refresh(Some(std::slice::from_ref(&name)), create)
                        .await
                })
                .await?;
            let topic = metadata.topics.get(&name);
            let code = match topic {
                Some(topic) if topic.is_ready() => return Ok(topic.clone()),
                Some(topic) => topic.error.unwrap_or(ErrorCode::LeaderNotAvailable),
                None => ErrorCode::UnknownTopicOrPartition,
            };
            let again = match code {
                ErrorCode::UnknownTopicOrPartition => unknown.wait().await,
                code if code.is_retriable() => leaderless.wait().await,
                _ => false,
            };
            if !again {
                return Err(match code {
                    ErrorCode::UnknownTopicOrPartition => ClientError::UnknownTopic { topic: name },
                    code => ClientError::Broker {
                        what: format!("topic {name}").into(),
                        code,
                        message: None,
                    },
                });
            }
        }
    }

    /// How many partitions a topic has; asks for it if nothing is known.
    pub async fn partition_count(&self, name: &str, create: bool) -> Result<i32> {
        let count =
            |topic: &TopicMetadata| i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        if let Some(topic) = self.inner.metadata.borrow().topics.get(name)
            && topic.is_ready()
        {
            return Ok(count(topic));
        }
        Ok(count(&self.refreshed_topic(name, create).await?))
    }

    /// The leader of a partition, from what is known; asks if nothing is.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<i32> {
        let known = |topic: &TopicMetadata| topic.partitions.get(&partition)?.leader;
        if let Some(topic) = self.inner.metadata.borrow().topics.get(topic)
            && let Some(leader) = known(topic)
        {
            return Ok(leader);
        }
        let found = self.refreshed_topic(topic, false).await?;
        known(&found).ok_or_else(|| ClientError::UnknownPartition {
            topic: topic.into(),
            partition,
            count: found.partitions.len(),
        })
    }

    /// Forgets a topic, so that its leaders are asked for again: an answer has shown that they
    /// are others.
    pub fn forget(&self, topic: &str) {
        self.inner.metadata.borrow_mut().topics.remove(topic);
    }

    /// A connection to a broker by its id.
    pub async fn broker(&self, id: i32, purpose: Purpose) -> Result<Connection> {
        let known = self.inner.metadata.borrow().brokers.get(&id).cloned();
        let broker = match known {
            Some(broker) => broker,
            None => {
                let metadata = self.refresh(Some(&[]), false).await?;
                let broker = metadata.brokers.get(&id).cloned();
                broker.ok_or_else(|| ClientError::Broker {
                    what: format!("broker {id}").into(),
                    code: ErrorCode::BrokerNotAvailable,
                    message: None,
                })?
            }
        };
        self.connection(&broker.host, broker.port, purpose).await
    }

    /// A connection to some broker, one that is open already if possible.
    pub async fn any_broker(&self) -> Result<Connection> {
        let slots: Vec<_> = self.inner.connections.borrow().values().cloned().collect();
        for slot in slots {
            if let Some(slot) = slot.try_lock()
                && let Some(connection) = &*slot
                && connection.is_open()
            {
                return Ok(connection.clone());
            }
        }
        let brokers: Vec<Broker> = {
            let metadata = self.inner.metadata.borrow();
            metadata.brokers.values().cloned().collect()
        };
        for broker in brokers {
            let connecting = self.connection(&broker.host, broker.port, Purpose::Control);
            if let Ok(connection) = connecting.await {
                return Ok(connection);
            }
        }
        self.bootstrap().await
    }

    /// A connection to the broker that takes administrative requests, or to any that forwards
    /// them.
    pub async fn controller(&self) -> Result<Connection> {
        let known = self.inner.metadata.borrow().controller_id;
        let controller = match known {
            Some(id) => Some(id),
            None => self.refresh(Some(&[]), false).await?.controller_id,
        };
        match controller {
            Some(id) => self.broker(id, Purpose::Control).await,
            None => self.any_broker().await,
        }
    }

    /// A connection to the coordinator of a group.
    pub async fn coordinator(&self, group: &str) -> Result<Connection> {
        let connection = self.any_broker().await?;
        let version = connection.version::<FindCoordinatorRequest>()?;
        let key = StrBytes::from_string(group.to_owned());
        let request = match version {
            0..=3 => FindCoordinatorRequest::default().with_key(key),
            _ => FindCoordinatorRequest::default().with_coordinator_keys(vec![key]),
        };
        let response = connection
            .call_version(&request, version, connection.request_timeout())
            .await?;
        let what = || format!("the coordinator of group {group}");
        let (host, port) = match response.coordinators.into_iter().next() {
            Some(found) => {
                ClientError::check(what, found.error_code, found.error_message.as_deref())?;
                (found.host, found.port)
            }
            None => {
                let message = response.error_message.as_deref();
                ClientError::check(what, response.error_code, message)?;
                (response.host, response.port)
            }
        };
        let address = format!("{host}:{port}");
        let port = u16::try_from(port).map_err(|_| ClientError::InvalidAddress { address })?;
        self.connection(&host, port, Purpose::Coordinator).await
    }

    /// Calls `attempt` until it succeeds, fails for good, or the API timeout is over.
    pub async fn retry<T, F: Future<Output = Result<T>>>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T> {
        let mut backoff = Backoff::new(&self.inner.reactor, self.inner.config.api_timeout);
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if !error.is_retriable() || !backoff.wait().await {
                return Err(error);
            }
        }
    }

    async fn bootstrap(&self) -> Result<Connection> {
        let mut causes = Vec::new();
        for address in &self.inner.config.bootstrap_servers {
            let (host, port) = split_host_port(address)?;
            match self.connection(&host, port, Purpose::Control).await {
                Ok(connection) => return Ok(connection),
                Err(ClientError::Disconnected { cause, .. }) => {
                    causes.push(format!("{address} ({cause})"));
                }
                Err(error @ ClientError::UnsupportedVersion { .. }) => return Err(error),
                Err(error) => causes.push(format!("{address} ({error})")),
            }
        }
        Err(ClientError::Unreachable(Rc::new(causes)))
    }

    async fn connection(&self, host: &str, port: u16, purpose: Purpose) -> Result<Connection> {
        let slot = {
            let mut connections = self.inner.connections.borrow_mut();
            let key = (host.to_owned(), port, purpose);
            connections.entry(key).or_default().clone()
        };
        // Held while connecting: others that want the same connection wait for it.
        let mut slot = slot.lock().await;
        if let Some(connection) = &*slot
            && connection.is_open()
        {
            return Ok(connection.clone());
        }
        *slot = None;
        let mut failed = None;
        for address in resolve(host, port).await? {
            let connecting =
                Connection::connect(&self.inner.reactor, address, &self.inner.config.connection);
            match connecting.await {
                Ok(connection) => {
                    *slot = Some(connection.clone());
                    return Ok(connection);
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.expect("a name resolves to at least one address"))
    }
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
