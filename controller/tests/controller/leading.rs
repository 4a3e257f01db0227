//! The controller on its log: what leaves when, and what a later run finds.

use std::time::Instant;

use millstream_controller::raft::{Entry, Persist, Recovered};
use millstream_controller::{
    ApiError, Controller, ControllerFault, ControllerRequest, ControllerResponse,
    ControllerSettings, Input, MorePartitions, NewTopic, Output, QuorumReplica, RequestId,
};
use millstream_metadata::Image;
use millstream_protocol::{ErrorCode, NodeId};
use uuid::Uuid;

use crate::world::Rules;

/// A controller and the disk that it writes to, which may hold writes back.
struct Run {
    controller: Controller,
    now: Instant,
    /// What is durable.
    disk: Recovered,
    held: Vec<Persist>,
    hold: bool,
    published: Image,
    answers: Vec<(RequestId, Result<ControllerResponse, ApiError>)>,
    requests: u64,
}

impl Run {
    fn start(settings: ControllerSettings, disk: Recovered) -> Result<Run, ControllerFault> {
        let now = Instant::now();
        let controller = Controller::start(now, settings, Box::new(Rules), disk.clone(), 7)?;
        let mut run = Run {
            controller,
            now,
            disk,
            held: Vec::new(),
            hold: false,
            published: Image::default(),
            answers: Vec::new(),
            requests: 0,
        };
        run.drain()?;
        Ok(run)
    }

    fn alone(disk: Recovered) -> Run {
        let settings = ControllerSettings::single(NodeId(1), "cluster");
        Run::start(settings, disk).expect("it starts")
    }

    fn drain(&mut self) -> Result<(), ControllerFault> {
        while let Some(output) = self.controller.poll_output()? {
            match output {
                Output::Persist(persist) if self.hold => self.held.push(persist),
                Output::Persist(persist) => self.persist(persist),
                Output::Publish { image, .. } => self.published = (*image).clone(),
                Output::Respond { id, response } => self.answers.push((id, response)),
                Output::Send(_) => {}
                Output::StoreSnapshot(snapshot) => panic!("{snapshot:?}"),
            }
        }
        Ok(())
    }

    fn persist(&mut self, persist: Persist) {
        let entries = &mut self.disk.entries;
        if let Some(first) = persist.entries.first() {
            entries.retain(|entry: &Entry| entry.index < first.index);
        }
        entries.extend(persist.entries);
        self.disk.hard_state = persist.hard_state;
        let input = Input::Persisted(persist.number);
        self.controller.handle(self.now, input);
    }

    /// Lets the writes through that were held back.
    fn release(&mut self) {
        self.hold = false;
        for persist in std::mem::take(&mut self.held) {
            self.persist(persist);
        }
        self.drain().expect("the log is sound");
    }

    fn ask(&mut self, request: ControllerRequest) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        let input = Input::Request {
            id,
            request,
            entropy: [self.requests, 5],
        };
        self.controller.handle(self.now, input);
        self.drain().expect("the log is sound");
        id
    }

    fn register(&mut self) -> RequestId {
        self.ask(ControllerRequest::RegisterBroker {
            node_id: NodeId(1),
            cluster_id: "cluster".to_owned(),
            incarnation_id: Uuid::from_u128(1),
            endpoints: Vec::new(),
            rack: None,
        })
    }

    fn let_in(&mut self) {
        self.register();
        let Some((_, Ok(ControllerResponse::RegisterBroker(Ok(broker_epoch))))) =
            self.answers.pop()
        else {
            panic!("not registered");
        };
        self.ask(ControllerRequest::BrokerHeartbeat {
            node_id: NodeId(1),
            broker_epoch,
            metadata_offset: broker_epoch.unsigned_abs(),
            want_fence: false,
        });
        self.answers.clear();
    }

    fn create(&mut self, name: &str) -> RequestId {
        self.ask(ControllerRequest::CreateTopics {
            topics: vec![NewTopic::named(name)],
            validate_only: false,
        })
    }
}

#[test]
fn answers_leave_when_their_records_are_durable_and_published() {
    let mut run = Run::alone(Recovered::default());
    run.let_in();
    run.hold = true;
    let first = run.create("a");
    let second = run.create("b");
    // Decided upon what is not durable yet, it waits for that although it changes nothing.
    let third = run.create("a");
    assert!(run.answers.is_empty());
    assert!(run.published.topic_by_name("a").is_none());
    run.release();
    let order: Vec<RequestId> = run.answers.iter().map(|(id, _)| *id).collect();
    assert_eq!(order, [first, second, third]);
    let Ok(ControllerResponse::CreateTopics(results)) = &run.answers[2].1 else {
        panic!("{:?}", run.answers[2]);
    };
    let refused = results[0].result.as_ref().map_err(|error| error.code);
    assert_eq!(refused.err(), Some(ErrorCode::TopicAlreadyExists));
    assert!(run.published.topic_by_name("b").is_some());
}

#[test]
fn a_later_run_finds_what_was_durable_and_nothing_else() {
    let mut run = Run::alone(Recovered::default());
    run.let_in();
    run.create("kept");
    run.ask(ControllerRequest::CreatePartitions {
        topics: vec![MorePartitions {
            name: "kept".to_owned(),
            count: 3,
            assignments: None,
        }],
        validate_only: false,
    });
    run.hold = true;
    run.create("lost");
    let later = Run::alone(run.disk.clone());
    let kept = later.published.topic_by_name("kept");
    assert_eq!(kept.map(|topic| topic.partitions.len()), Some(3));
    assert!(later.published.topic_by_name("lost").is_none());
    assert!(later.controller.is_active());
}

#[test]
fn the_log_of_another_cluster_is_refused() {
    let run = Run::alone(Recovered::default());
    let settings = ControllerSettings::single(NodeId(1), "another");
    match Run::start(settings, run.disk) {
        Err(ControllerFault::ClusterId { expected, found }) => {
            assert_eq!((&*expected, &*found), ("another", "cluster"));
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started"),
    }
}

#[test]
fn the_quorum_is_described_as_its_leader_knows_it() {
    let mut run = Run::alone(Recovered::default());
    run.let_in();
    let describe = |run: &mut Run| {
        let id = RequestId(1000);
        run.controller.handle(run.now, Input::DescribeQuorum { id });
        run.drain().expect("the log is sound");
        match run.answers.pop() {
            Some((_, Ok(ControllerResponse::DescribeQuorum(status)))) => status,
            other => panic!("{other:?}"),
        }
    };
    let before = describe(&mut run);
    let replica = |log_end_offset| QuorumReplica {
        node_id: NodeId(1),
        directory_id: Uuid::nil(),
        log_end_offset,
    };
    assert_eq!(before.leader, NodeId(1));
    assert_eq!(before.voters, [replica(before.high_watermark)]);
    assert_eq!(before.observers, []);
    run.hold = true;
    run.create("t");
    let during = describe(&mut run);
    assert_eq!(during, before, "nothing of it is durable");
    run.release();
    run.answers.clear();
    let after = describe(&mut run);
    assert_eq!(after.high_watermark, before.high_watermark + 1);
    assert_eq!(after.voters, [replica(after.high_watermark)]);
}

#[test]
fn a_node_that_does_not_lead_decides_and_describes_nothing() {
    let settings = ControllerSettings {
        voters: vec![NodeId(1), NodeId(2), NodeId(3)],
        ..ControllerSettings::single(NodeId(1), "cluster")
    };
    let mut run = Run::start(settings, Recovered::default()).expect("it starts");
    assert!(!run.controller.is_active());
    run.register();
    let id = RequestId(1000);
    run.controller.handle(run.now, Input::DescribeQuorum { id });
    run.drain().expect("nothing to replay");
    let codes: Vec<_> = run
        .answers
        .iter()
        .map(|(_, answer)| answer.as_ref().map_err(|error| error.code).err())
        .collect();
    assert_eq!(codes, [Some(ErrorCode::NotController); 2]);
}
