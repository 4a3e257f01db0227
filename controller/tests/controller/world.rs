//! A cluster's image that requests are decided on, one after another.

use std::collections::BTreeMap;

use millstream_controller::{
    ApiError, ConfigRules, Context, ControllerRequest, ControllerResponse, ControllerSettings,
    CreatedTopic, NewTopic, decide,
};
use millstream_metadata::{ConfigResource, Delta, Image, Record, ResourceType};
use millstream_protocol::{ErrorCode, NodeId, TopicId};
use uuid::Uuid;

/// Knows `retention`, the list `policy` and what the internal topics are made with; refuses
/// everything else, and the value `bad`.
pub struct Rules;

const KNOWN: [&str; 5] = [
    "retention",
    "policy",
    "cleanup.policy",
    "compression.type",
    "segment.bytes",
];

impl ConfigRules for Rules {
    fn validate(
        &self,
        _: &ConfigResource,
        configs: &BTreeMap<String, String>,
    ) -> Result<(), ApiError> {
        let is_known = |key: &String| KNOWN.contains(&key.as_str());
        match configs.iter().find(|(k, v)| !is_known(k) || *v == "bad") {
            None => Ok(()),
            Some((key, value)) => Err(ApiError::new(
                ErrorCode::InvalidConfig,
                format!("{key}={value} cannot be"),
            )),
        }
    }

    fn is_list(&self, _: ResourceType, key: &str) -> bool {
        key == "policy"
    }

    fn default_value(&self, _: ResourceType, key: &str) -> Option<String> {
        (key == "policy").then(|| "delete".to_owned())
    }
}

pub struct World {
    pub image: Image,
    pub settings: ControllerSettings,
    pub records: Vec<Record>,
    requests: u64,
}

impl World {
    /// A cluster of these brokers, with their racks, all of them let in.
    pub fn with_brokers(brokers: &[(i32, Option<&str>)]) -> World {
        let mut world = World {
            image: Image::default(),
            settings: ControllerSettings::single(NodeId(1), "cluster"),
            records: Vec::new(),
            requests: 0,
        };
        for (id, rack) in brokers {
            let epoch = world.register(*id, u128::from(id.unsigned_abs()), *rack);
            world.heartbeat(*id, epoch.expect("registered"), false);
        }
        world
    }

    /// Three brokers without racks.
    pub fn of_three() -> World {
        World::with_brokers(&[(1, None), (2, None), (3, None)])
    }

    /// Decides, checks that replay of the records gives the decision's image, and goes on from it.
    pub fn ask(&mut self, request: ControllerRequest) -> ControllerResponse {
        self.requests += 1;
        let next_offset = self.image.offset() + 1;
        let context = Context {
            settings: &self.settings,
            rules: &Rules,
            next_offset,
            entropy: [self.requests, !self.requests],
        };
        let decision = decide(&self.image, request, &context);
        let mut replayed = self.image.clone();
        for record in &decision.records {
            replayed
                .apply(record, &mut Delta::default())
                .expect("what is decided can be replayed");
        }
        assert_eq!(replayed, decision.image);
        if !decision.records.is_empty() {
            replayed.set_position(next_offset, 1);
        }
        self.records = decision.records;
        self.image = replayed;
        decision.response
    }

    pub fn register(
        &mut self,
        id: i32,
        incarnation: u128,
        rack: Option<&str>,
    ) -> Result<i64, ApiError> {
        let request = ControllerRequest::RegisterBroker {
            node_id: NodeId(id),
            cluster_id: "cluster".to_owned(),
            incarnation_id: Uuid::from_u128(incarnation),
            endpoints: Vec::new(),
            rack: rack.map(str::to_owned),
        };
        match self.ask(request) {
            ControllerResponse::RegisterBroker(result) => result,
            other => panic!("{other:?}"),
        }
    }

    /// A heartbeat of a broker that has replayed everything.
    pub fn heartbeat(&mut self, id: i32, broker_epoch: i64, want_fence: bool) {
        let request = ControllerRequest::BrokerHeartbeat {
            node_id: NodeId(id),
            broker_epoch,
            metadata_offset: u64::MAX >> 1,
            want_fence,
        };
        match self.ask(request) {
            ControllerResponse::BrokerHeartbeat(Ok(reply)) => {
                assert_eq!(reply.is_fenced, want_fence);
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn fence(&mut self, id: i32) {
        let epoch = self.image.broker(NodeId(id)).expect("registered").epoch;
        self.heartbeat(id, epoch, true);
    }

    pub fn create_all(
        &mut self,
        topics: Vec<NewTopic>,
        validate_only: bool,
    ) -> Vec<(String, Result<CreatedTopic, ApiError>)> {
        let request = ControllerRequest::CreateTopics {
            topics,
            validate_only,
        };
        match self.ask(request) {
            ControllerResponse::CreateTopics(results) => {
                results.into_iter().map(|r| (r.name, r.result)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn create(&mut self, topic: NewTopic) -> Result<CreatedTopic, ErrorCode> {
        let mut results = self.create_all(vec![topic], false);
        results
            .pop()
            .expect("answered")
            .1
            .map_err(|error| error.code)
    }

    /// A topic with so many partitions and replicas; its id.
    pub fn topic(&mut self, name: &str, partitions: i32, replicas: i16) -> TopicId {
        self.create(sized(name, partitions, replicas))
            .expect("created")
            .topic_id
    }
}

pub fn sized(name: &str, partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic {
        partitions,
        replication_factor,
        ..NewTopic::named(name)
    }
}

pub fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}
