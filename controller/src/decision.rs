//! What a request leads to: records, and the response once they are committed.

use millstream_metadata::{Delta, Image, Record};

use crate::api::{ControllerRequest, ControllerResponse};
use crate::entropy::Entropy;
use crate::settings::{ConfigRules, ControllerSettings};
use crate::{brokers, configs, partition_creation, producer_ids, topic_creation, topic_deletion};

/// What a decision rests on beside the image and the request.
pub struct Context<'a> {
    /// The controller's settings.
    pub settings: &'a ControllerSettings,
    /// What is known of topics' and brokers' settings.
    pub rules: &'a dyn ConfigRules,
    /// The index that the entry of this decision will have.
    pub next_offset: u64,
    /// Random bits, for ids and placement.
    pub entropy: [u64; 2],
}

/// Records to be committed together, and the response that may leave then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// In order; empty when nothing changes.
    pub records: Vec<Record>,
    /// The answer.
    pub response: ControllerResponse,
    /// The image after the records.
    pub image: Image,
}

/// Decides on a request, given all that was decided before.
pub fn decide(image: &Image, request: ControllerRequest, context: &Context<'_>) -> Decision {
    let mut draft = Draft::new(image.clone());
    let mut entropy = Entropy::new(context.entropy);
    let response = match request {
        ControllerRequest::CreateTopics {
            topics,
            validate_only,
        } => {
            let results = topic_creation::create(&mut draft, topics, context, &mut entropy);
            if validate_only {
                draft = Draft::new(image.clone());
            }
            ControllerResponse::CreateTopics(results)
        }
        ControllerRequest::EnsureTopics { names } => ControllerResponse::EnsureTopics(
            topic_creation::ensure(&mut draft, names, context, &mut entropy),
        ),
        ControllerRequest::CreatePartitions {
            topics,
            validate_only,
        } => {
            let results = partition_creation::create(&mut draft, topics, &mut entropy);
            if validate_only {
                draft = Draft::new(image.clone());
            }
            ControllerResponse::CreatePartitions(results)
        }
        ControllerRequest::DeleteTopics { topics } => {
            ControllerResponse::DeleteTopics(topic_deletion::delete(&mut draft, topics, context))
        }
        ControllerRequest::AlterConfigs {
            resources,
            validate_only,
        } => {
            let results = configs::alter(&mut draft, resources, context);
            if validate_only {
                draft = Draft::new(image.clone());
            }
            ControllerResponse::AlterConfigs(results)
        }
        ControllerRequest::AllocateProducerIds {
            node_id,
            broker_epoch,
        } => {
            let result = producer_ids::allocate(&mut draft, node_id, broker_epoch);
            ControllerResponse::AllocateProducerIds(result)
        }
        ControllerRequest::RegisterBroker {
            node_id,
            cluster_id,
            incarnation_id,
            endpoints,
            rack,
        } => {
            let registration = brokers::NewRegistration {
                node_id,
                cluster_id,
                incarnation_id,
                endpoints,
                rack,
            };
            let result = brokers::register(&mut draft, registration, context);
            ControllerResponse::RegisterBroker(result)
        }
        ControllerRequest::BrokerHeartbeat {
            node_id,
            broker_epoch,
            metadata_offset,
            want_fence,
        } => {
            let result = brokers::heartbeat(
                &mut draft,
                node_id,
                broker_epoch,
                metadata_offset,
                want_fence,
            );
            ControllerResponse::BrokerHeartbeat(result)
        }
    };
    Decision {
        records: draft.records,
        response,
        image: draft.image,
    }
}

/// An image in the making. Copies are cheap, so that one item of a request can be tried and dropped.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) image: Image,
    records: Vec<Record>,
}

impl Draft {
    fn new(image: Image) -> Draft {
        Draft {
            image,
            records: Vec::new(),
        }
    }

    /// Adds a record, which the checks before it have made sure fits.
    pub(crate) fn add(&mut self, record: Record) {
        if let Err(error) = self.image.apply(&record, &mut Delta::default()) {
            panic!("decided on {record:?}, which cannot be replayed: {error}");
        }
        self.records.push(record);
    }

    /// A draft of the same image that has no records yet.
    pub(crate) fn branch(&self) -> Draft {
        Draft::new(self.image.clone())
    }

    /// Takes over a branch.
    pub(crate) fn accept(&mut self, branch: Draft) {
        self.image = branch.image;
        self.records.extend(branch.records);
    }
}
