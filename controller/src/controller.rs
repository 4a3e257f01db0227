//! The controller: requests decided in order, committed through Raft, replayed, answered.
//!
//! Two images are kept. The *committed* one is what everybody has or will have; it is published.
//! The *latest* one has what was decided and is not committed yet: decisions rest on it, so that
//! they need not wait for each other. It exists while this node leads and has replayed all that
//! earlier leaders committed. A leader that is deposed drops it, and refuses what waited.
//!
//! A response leaves when the records it speaks of, and those it was decided upon, are committed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use millstream_metadata::{
    ApplyError, ClusterIdRecord, DecodeError, Delta, FeatureLevelRecord, Image, Record,
    SnapshotError, decode_records, encode_records,
};
use millstream_raft::{
    Entry, Message, Output as RaftOutput, Persist, ProposalId, ProposeError, Raft, RaftConfig,
    RaftReplica, Recovered, Snapshot, StartError,
};
use uuid::Uuid;

use crate::api::{ControllerRequest, ControllerResponse, QuorumReplica, QuorumStatus};
use crate::api_error::ApiError;
use crate::decision::{Context, decide};
use crate::settings::{ConfigRules, ControllerSettings};

/// Ticks of the quorum without a leader until an election, at least.
const ELECTION_TICKS: usize = 10;

/// Ticks between a leader's heartbeats.
const HEARTBEAT_TICKS: usize = 2;

/// Requests that may wait for a leader of this term to be ready.
const MAX_EARLY_REQUESTS: usize = 1024;

/// Names a request until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What happens to the controller.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A tenth of a second has passed, more or less.
    Tick,
    /// Somebody asks.
    Request {
        /// Comes back with the answer.
        id: RequestId,
        /// What is asked.
        request: ControllerRequest,
        /// Random bits, new for each request.
        entropy: [u64; 2],
    },
    /// Somebody asks how the quorum stands.
    DescribeQuorum {
        /// Comes back with the answer.
        id: RequestId,
    },
    /// A message of the quorum's came.
    Message(Message),
    /// All of the [`Persist`] with that number is durable.
    Persisted(u64),
    /// The snapshot after that index is durable.
    SnapshotStored(u64),
}

/// What the controller wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Make this durable, then say [`Input::Persisted`].
    Persist(Persist),
    /// Send this to another node; it may get lost.
    Send(Message),
    /// Answer a request.
    Respond {
        /// Which one.
        id: RequestId,
        /// `NOT_CONTROLLER` when this node does not lead, or ceased to before the commit.
        response: Result<ControllerResponse, ApiError>,
    },
    /// Tell the brokers on this node. The delta of the first names all there is.
    Publish {
        /// The committed image.
        image: Arc<Image>,
        /// What changed since the last one published.
        delta: Arc<Delta>,
    },
    /// Make this durable, forget the log up to it, then say [`Input::SnapshotStored`].
    StoreSnapshot(Snapshot),
}

/// Why the controller cannot go on. The log is not one that this cluster wrote.
#[derive(Debug, thiserror::Error)]
pub enum ControllerFault {
    /// The log does not fit together.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The snapshot is not an image.
    #[error("snapshot at index {index}: {error}")]
    Snapshot {
        /// The last entry that is part of it.
        index: u64,
        /// Why.
        error: SnapshotError,
    },
    /// An entry is not records.
    #[error("entry {index}: {error}")]
    Decode {
        /// The entry.
        index: u64,
        /// Why.
        error: DecodeError,
    },
    /// A record does not fit those before it.
    #[error("entry {index}: {error}")]
    Apply {
        /// The entry.
        index: u64,
        /// Why.
        error: ApplyError,
    },
    /// The log is another cluster's.
    #[error("the metadata log belongs to cluster {found}, this node to cluster {expected}")]
    ClusterId {
        /// This node's.
        expected: String,
        /// The log's.
        found: String,
    },
}

/// One node's controller: active while it leads the quorum, else a follower that replays.
pub struct Controller {
    settings: ControllerSettings,
    rules: Box<dyn ConfigRules>,
    raft: Raft,
    committed: Image,
    /// What changed in the committed image since the last publication.
    unpublished: Delta,
    published: bool,
    latest: Option<Image>,
    pending: VecDeque<Pending>,
    early: VecDeque<(RequestId, ControllerRequest, [u64; 2])>,
    outputs: VecDeque<Output>,
    bytes_since_snapshot: u64,
    last_snapshot_at: Instant,
    snapshot_under_way: bool,
    now: Instant,
}

/// A response that waits for an entry to be committed.
struct Pending {
    proposal: ProposalId,
    id: RequestId,
    response: ControllerResponse,
}

impl Controller {
    /// A controller over what its log holds. The first output is to be asked for at once: the only
    /// voter of a quorum leads it from the start.
    pub fn start(
        now: Instant,
        settings: ControllerSettings,
        rules: Box<dyn ConfigRules>,
        recovered: Recovered,
        seed: u64,
    ) -> Result<Controller, ControllerFault> {
        let config = RaftConfig {
            node_id: settings.node_id,
            voters: settings.voters.clone(),
            learners: Vec::new(),
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: HEARTBEAT_TICKS,
            seed,
        };
        let committed = match &recovered.snapshot {
            Some(snapshot) => image_of(snapshot)?,
            None => Image::default(),
        };
        let unpublished = Delta::between(&Image::default(), &committed);
        Ok(Controller {
            raft: Raft::start(&config, recovered)?,
            settings,
            rules,
            committed,
            unpublished,
            published: false,
            latest: None,
            pending: VecDeque::new(),
            early: VecDeque::new(),
            outputs: VecDeque::new(),
            bytes_since_snapshot: 0,
            last_snapshot_at: now,
            snapshot_under_way: false,
            now,
        })
    }

    /// Something happens. Drain the outputs before the next input, except that requests which wait
    /// together may come in together: they are then made durable together.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.now = now;
        match input {
            Input::Tick => {
                self.raft.tick();
                self.consider_snapshot();
            }
            Input::Request {
                id,
                request,
                entropy,
            } => self.request(id, request, entropy),
            Input::DescribeQuorum { id } => self.describe_quorum(id),
            Input::Message(message) => self.raft.step(message),
            Input::Persisted(number) => self.raft.persisted(number),
            Input::SnapshotStored(index) => {
                self.snapshot_under_way = false;
                self.raft.compact(index);
            }
        }
        self.follow_leadership();
    }

    /// The next thing to do; `None` until the next input.
    pub fn poll_output(&mut self) -> Result<Option<Output>, ControllerFault> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Ok(Some(output));
            }
            let Some(output) = self.raft.poll_output() else {
                return Ok(None);
            };
            match output {
                RaftOutput::Persist(persist) => return Ok(Some(Output::Persist(persist))),
                RaftOutput::Send(message) => return Ok(Some(Output::Send(message))),
                RaftOutput::Committed(entries) => self.committed(&entries)?,
                RaftOutput::Restored(snapshot) => self.restored(&snapshot)?,
                RaftOutput::SnapshotWanted => {
                    let data = Bytes::from(self.committed.to_snapshot());
                    self.raft.offer_snapshot(self.committed.offset(), data);
                }
            }
            self.follow_leadership();
        }
    }

    /// The committed image.
    pub fn image(&self) -> &Image {
        &self.committed
    }

    /// Whether requests are decided here.
    pub fn is_active(&self) -> bool {
        self.latest.is_some()
    }

    fn request(&mut self, id: RequestId, request: ControllerRequest, entropy: [u64; 2]) {
        let Some(latest) = &self.latest else {
            if self.raft.is_leader() && self.early.len() < MAX_EARLY_REQUESTS {
                self.early.push_back((id, request, entropy));
            } else {
                self.refuse(id);
            }
            return;
        };
        let context = Context {
            settings: &self.settings,
            rules: &*self.rules,
            next_offset: self.raft.last_index() + 1,
            entropy,
        };
        let decision = decide(latest, request, &context);
        let proposal = if decision.records.is_empty() {
            self.pending.back().map(|pending| pending.proposal)
        } else {
            match self.propose(&decision.records) {
                Ok(proposal) => Some(proposal),
                Err(error) => {
                    self.outputs.push_back(Output::Respond {
                        id,
                        response: Err(error),
                    });
                    return;
                }
            }
        };
        self.latest = Some(decision.image);
        let response = decision.response;
        match proposal {
            Some(proposal) => self.pending.push_back(Pending {
                proposal,
                id,
                response,
            }),
            None => self.outputs.push_back(Output::Respond {
                id,
                response: Ok(response),
            }),
        }
    }

    /// Only the leader knows how far the others are.
    fn describe_quorum(&mut self, id: RequestId) {
        let Some(replicas) = self.raft.replicas() else {
            return self.refuse(id);
        };
        let (voters, observers): (Vec<_>, Vec<_>) =
            replicas.into_iter().partition(|replica| replica.is_voter);
        let settings = &self.settings;
        let described = |replica: RaftReplica| QuorumReplica {
            node_id: replica.node_id,
            directory_id: match replica.node_id {
                own if own == settings.node_id => settings.directory_id,
                _ => Uuid::nil(),
            },
            log_end_offset: replica.last_index + 1,
        };
        let status = QuorumStatus {
            leader: settings.node_id,
            epoch: self.raft.term(),
            high_watermark: self.committed.offset() + 1,
            voters: voters.into_iter().map(described).collect(),
            observers: observers.into_iter().map(described).collect(),
        };
        self.outputs.push_back(Output::Respond {
            id,
            response: Ok(ControllerResponse::DescribeQuorum(status)),
        });
    }

    fn propose(&mut self, records: &[Record]) -> Result<ProposalId, ApiError> {
        self.raft
            .propose(encode_records(records))
            .map_err(|error| match error {
                ProposeError::NotLeader { .. } => ApiError::not_controller(),
                ProposeError::Overloaded => ApiError::new(
                    millstream_protocol::ErrorCode::RequestTimedOut,
                    "Too many metadata changes wait to be committed.",
                ),
            })
    }

    fn refuse(&mut self, id: RequestId) {
        self.outputs.push_back(Output::Respond {
            id,
            response: Err(ApiError::not_controller()),
        });
    }

    /// Becomes active, or ceases to be, as the quorum has it.
    fn follow_leadership(&mut self) {
        if !self.raft.is_leader() {
            self.latest = None;
            let pending = std::mem::take(&mut self.pending)
                .into_iter()
                .map(|pending| pending.id);
            let early = std::mem::take(&mut self.early)
                .into_iter()
                .map(|(id, _, _)| id);
            for id in pending.chain(early).collect::<Vec<_>>() {
                self.refuse(id);
            }
        } else if self.latest.is_none() && self.committed.epoch() == self.raft.term() {
            // The first entry of this term is replayed, so all before it are.
            self.latest = Some(self.committed.clone());
            self.bootstrap();
            for (id, request, entropy) in std::mem::take(&mut self.early) {
                self.request(id, request, entropy);
            }
        }
    }

    /// The first records of a new cluster.
    fn bootstrap(&mut self) {
        if self.committed.cluster_id().is_some() {
            return;
        }
        let cluster_id = self.settings.cluster_id.clone();
        let mut records = vec![Record::ClusterId(ClusterIdRecord { cluster_id })];
        for (name, level) in &self.settings.features {
            let (name, level) = (name.clone(), *level);
            records.push(Record::FeatureLevel(FeatureLevelRecord { name, level }));
        }
        if let Err(error) = self.propose(&records) {
            unreachable!("a leader without proposals refused one: {error}");
        }
        let latest = self.latest.as_mut().expect("set by the caller");
        for record in &records {
            latest
                .apply(record, &mut Delta::default())
                .expect("an image without a cluster takes any");
        }
    }

    fn committed(&mut self, entries: &[Entry]) -> Result<(), ControllerFault> {
        for entry in entries {
            let index = entry.index;
            if !entry.data.is_empty() {
                let records = decode_records(&entry.data)
                    .map_err(|error| ControllerFault::Decode { index, error })?;
                for record in &records {
                    self.committed
                        .apply(record, &mut self.unpublished)
                        .map_err(|error| ControllerFault::Apply { index, error })?;
                }
            }
            self.committed.set_position(index, entry.term);
            self.bytes_since_snapshot += entry.data.len() as u64;
            self.answer(entry);
        }
        self.check_cluster()?;
        self.publish();
        self.consider_snapshot();
        Ok(())
    }

    /// Lets the responses go that waited for this entry.
    fn answer(&mut self, entry: &Entry) {
        while self
            .pending
            .front()
            .is_some_and(|p| p.proposal.index <= entry.index)
        {
            let Pending {
                proposal,
                id,
                response,
            } = self.pending.pop_front().expect("there is one");
            let response = if proposal
                == (ProposalId {
                    index: entry.index,
                    term: entry.term,
                }) {
                Ok(response)
            } else {
                Err(ApiError::not_controller())
            };
            self.outputs.push_back(Output::Respond { id, response });
        }
    }

    fn restored(&mut self, snapshot: &Snapshot) -> Result<(), ControllerFault> {
        let image = image_of(snapshot)?;
        self.unpublished
            .merge(&Delta::between(&self.committed, &image));
        self.committed = image;
        self.bytes_since_snapshot = 0;
        self.last_snapshot_at = self.now;
        self.check_cluster()?;
        self.publish();
        Ok(())
    }

    fn check_cluster(&self) -> Result<(), ControllerFault> {
        let expected = &self.settings.cluster_id;
        match self.committed.cluster_id() {
            Some(found) if found != expected => {
                let (expected, found) = (expected.clone(), found.to_owned());
                Err(ControllerFault::ClusterId { expected, found })
            }
            _ => Ok(()),
        }
    }

    /// The first publication waits until the image is of this term, so that a broker does not act
    /// on what was true long ago.
    fn publish(&mut self) {
        let caught_up = self.committed.epoch() == self.raft.term();
        if !self.published && (!caught_up || self.committed.cluster_id().is_none()) {
            return;
        }
        self.published = true;
        // Ahead of the responses, so that who gets one finds the image that it speaks of.
        self.outputs.push_front(Output::Publish {
            image: Arc::new(self.committed.clone()),
            delta: Arc::new(std::mem::take(&mut self.unpublished)),
        });
    }

    fn consider_snapshot(&mut self) {
        let policy = self.settings.snapshots;
        let due = self.bytes_since_snapshot >= policy.max_bytes
            || self.now.duration_since(self.last_snapshot_at) >= policy.max_interval;
        if !due || self.bytes_since_snapshot == 0 || self.snapshot_under_way {
            return;
        }
        let data = Bytes::from(self.committed.to_snapshot());
        if let Some(snapshot) = self.raft.snapshot(self.committed.offset(), data) {
            self.snapshot_under_way = true;
            self.bytes_since_snapshot = 0;
            self.last_snapshot_at = self.now;
            self.outputs.push_back(Output::StoreSnapshot(snapshot));
        }
    }
}

fn image_of(snapshot: &Snapshot) -> Result<Image, ControllerFault> {
    Image::from_snapshot(snapshot.index, snapshot.term, &snapshot.data).map_err(|error| {
        ControllerFault::Snapshot {
            index: snapshot.index,
            error,
        }
    })
}
