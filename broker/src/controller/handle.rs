//! How shards on other threads reach the controller, and how images reach them.
//!
//! Bounds: at most [`REQUESTS`] requests wait, and one more for each handle; a shard that is slow
//! to take images has [`PUBLICATIONS`] waiting, and what comes after is merged into one.

use std::sync::Arc;

use futures::channel::{mpsc, oneshot};
use futures::{SinkExt, StreamExt};
use millstream_controller::{
    AlterConfigsResource, AlterConfigsResult, ApiError, ControllerRequest, ControllerResponse,
    DeletedTopic, EnsuredTopic, HeartbeatReply, MorePartitions, MorePartitionsResult, NewTopic,
    NewTopicResult, ProducerIdBlock, QuorumStatus, TopicRef,
};
use millstream_metadata::{Delta, Endpoint, Image};
use millstream_protocol::NodeId;
use millstream_reactor::{Receiver, Sender, mailbox};
use uuid::Uuid;

/// Requests that may wait for the controller.
const REQUESTS: usize = 1024;

/// Images that may wait for a shard.
const PUBLICATIONS: usize = 16;

/// Asks the controller. Clones may go to any thread; when the last is dropped, the controller
/// stops.
#[derive(Clone)]
pub struct ControllerHandle {
    requests: mpsc::Sender<Ask>,
}

/// The controller's end of all handles.
pub struct ControllerInbox {
    requests: mpsc::Receiver<Ask>,
}

/// What the controller can be asked.
pub(super) enum Question {
    /// To decide.
    Decide(ControllerRequest),
    /// How the quorum stands.
    DescribeQuorum,
}

/// A question, and where its answer goes.
pub(super) struct Ask {
    pub(super) question: Question,
    pub(super) answer: oneshot::Sender<Result<ControllerResponse, ApiError>>,
}

/// An image, and what changed since the one this receiver got before. The first is the whole
/// image: its delta names all there is.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The metadata now.
    pub image: Arc<Image>,
    /// What changed.
    pub delta: Arc<Delta>,
}

/// A shard's end of the publications.
pub struct ImageReceiver {
    mailbox: Receiver<Publication>,
}

/// The controller's end of one shard's publications.
pub struct PublicationSender {
    mailbox: Sender<Publication>,
}

/// The channels between a controller and `shards` shards, to be made before their threads start.
pub fn channels(
    shards: usize,
) -> (
    ControllerHandle,
    ControllerInbox,
    Vec<PublicationSender>,
    Vec<ImageReceiver>,
) {
    let (sender, receiver) = mpsc::channel(REQUESTS);
    let (senders, receivers) = (0..shards)
        .map(|_| {
            let (sender, receiver) = mailbox(PUBLICATIONS);
            (
                PublicationSender { mailbox: sender },
                ImageReceiver { mailbox: receiver },
            )
        })
        .unzip();
    (
        ControllerHandle { requests: sender },
        ControllerInbox { requests: receiver },
        senders,
        receivers,
    )
}

impl ControllerHandle {
    /// Asks, and waits until what was decided is committed. `NOT_CONTROLLER` when this node is not
    /// the active controller, or its controller has stopped: then it is not known whether the
    /// request was carried out.
    pub async fn request(
        &self,
        request: ControllerRequest,
    ) -> Result<ControllerResponse, ApiError> {
        self.ask(Question::Decide(request)).await
    }

    async fn ask(&self, question: Question) -> Result<ControllerResponse, ApiError> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask { question, answer };
        if self.requests.clone().send(ask).await.is_err() {
            return Err(ApiError::not_controller());
        }
        answered
            .await
            .unwrap_or_else(|_| Err(ApiError::not_controller()))
    }

    /// See [`ControllerRequest::CreateTopics`].
    pub async fn create_topics(
        &self,
        topics: Vec<NewTopic>,
        validate_only: bool,
    ) -> Result<Vec<NewTopicResult>, ApiError> {
        let request = ControllerRequest::CreateTopics {
            topics,
            validate_only,
        };
        match self.request(request).await? {
            ControllerResponse::CreateTopics(results) => Ok(results),
            other => unreachable!("answered with {other:?}"),
        }
    }

    /// See [`ControllerRequest::EnsureTopics`].
    pub async fn ensure_topics(&self, names: Vec<String>) -> Result<Vec<EnsuredTopic>, ApiError> {
        match self
            .request(ControllerRequest::EnsureTopics { names })
            .await?
        {
            ControllerResponse::EnsureTopics(results) => Ok(results),
            other => unreachable!("answered with {other:?}"),
        }
    }

    /// See [`ControllerRequest::CreatePartitions`].
    pub async fn create_partitions(
        &self,
        topics: Vec<MorePartitions>,
        validate_only: bool,
    ) -> Result<Vec<MorePartitionsResult>, ApiError> {
        let request = ControllerRequest::CreatePartitions {
            topics,
            validate_only,
        };
        match self.request(request).await? {
            ControllerResponse::CreatePartitions(results) => Ok(results),
            other => unreachable!("answered with {other:?}"),
        }
    }

    /// How the quorum stands; `NOT_CONTROLLER` from a node that does not lead it.
    pub async fn describe_quorum(&self) -> Result<QuorumStatus, ApiError> {
        match self.ask(Question::DescribeQuorum).await? {
            ControllerResponse::DescribeQuorum(status) => Ok(status),
            other => unreachable!("answered with {other:?}"),
        }
    }

    /// See [`ControllerRequest::DeleteTopics`].
    pub async fn delete_topics(
        &self,
        topics: Vec<TopicRef>,
    ) -> Result<Vec<DeletedTopic>, ApiError> {
        match self
            .request(ControllerRequest::DeleteTopics { topics })
            .await?
        {
            ControllerResponse::DeleteTopics(results) => Ok(results),
            other => unreachable!("answered with {other:?}"),
        }
    }

    /// See [`ControllerRequest::AlterConfigs`].
    pub async fn alter_configs(
        &self,
        resources: Vec<AlterConfigsResource>,
        validate_only: bool,
    ) -> Result<Vec<AlterConfigsResult>, ApiError> {
        let request = ControllerRequest::AlterConfigs {
            resources,
            validate_only,
        };
        match self.request(request).await? {
            ControllerResponse::AlterConfigs(results) => Ok(results),
            other => unreachable!("answered with {other:?}"),
        }
    }

    /// See [`ControllerRequest::AllocateProducerIds`].
    pub async fn allocate_producer_ids(
        &self,
        node_id: NodeId,
        broker_epoch: i64,
    ) -> Result<ProducerIdBlock, ApiError> {
        let request = ControllerRequest::AllocateProducerIds {
            node_id,
            broker_epoch,
        };
        match self.request(request).await? {
            ControllerResponse::AllocateProducerIds(result) => result,
            other => unreachable!("answered with {other:?}"),
        }
    }

    /// See [`ControllerRequest::RegisterBroker`]. Gives the registration's epoch.
    pub async fn register_broker(
        &self,
        node_id: NodeId,
        cluster_id: String,
        incarnation_id: Uuid,
        endpoints: Vec<Endpoint>,
        rack: Option<String>,
    ) -> Result<i64, ApiError> {
        let request = ControllerRequest::RegisterBroker {
            node_id,
            cluster_id,
            incarnation_id,
            endpoints,
            rack,
        };
        match self.request(request).await? {
            ControllerResponse::RegisterBroker(result) => result,
            other => unreachable!("answered with {other:?}"),
        }
    }

    /// See [`ControllerRequest::BrokerHeartbeat`].
    pub async fn heartbeat(
        &self,
        node_id: NodeId,
        broker_epoch: i64,
        metadata_offset: u64,
        want_fence: bool,
    ) -> Result<HeartbeatReply, ApiError> {
        let request = ControllerRequest::BrokerHeartbeat {
            node_id,
            broker_epoch,
            metadata_offset,
            want_fence,
        };
        match self.request(request).await? {
            ControllerResponse::BrokerHeartbeat(result) => result,
            other => unreachable!("answered with {other:?}"),
        }
    }
}

impl ControllerInbox {
    /// The next request; `None` when all handles are gone.
    pub(super) async fn next(&mut self) -> Option<Ask> {
        self.requests.next().await
    }

    /// A request that is there already.
    pub(super) fn try_next(&mut self) -> Option<Ask> {
        self.requests.try_recv().ok()
    }
}

impl ImageReceiver {
    /// The next image; `None` when the controller has stopped.
    pub async fn next(&mut self) -> Option<Publication> {
        self.mailbox.recv().await
    }

    /// An image that is there already.
    pub fn try_next(&mut self) -> Option<Publication> {
        self.mailbox.try_recv()
    }
}

impl PublicationSender {
    /// Sends, if the shard has room and is there; else gives the publication back.
    pub(super) fn try_send(&mut self, publication: Publication) -> Result<(), Publication> {
        self.mailbox.try_send(publication)
    }
}
