//! A coordinator on a bench: time and randomness under the test's control, a log in memory, and
//! checks that hold in every test: no request is answered twice or with another API's answer,
//! every answer can be encoded in the version of its request, and a waiting request is never
//! forgotten at the end.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use kafka_protocol::protocol::{Encodable, Message};
use millstream_coordinator::{
    GroupCoordinator, GroupCoordinatorConfig, GroupRequest, GroupResponse, Input, Output,
    RequestContext, RequestToken, WriteId,
};
use millstream_protocol::group_records::GroupRecord;
use millstream_protocol::{ErrorCode, StrBytes};

/// The wall clock when a bench is set up.
pub const START_MS: i64 = 1_000_000;
/// The most ticks without time going on: a coordinator that asks for more spins.
const MOST_TICKS_AT_ONCE: usize = 1_000;

pub struct Bench {
    pub coordinator: GroupCoordinator,
    pub config: GroupCoordinatorConfig,
    /// The records that are committed, in order.
    pub log: Vec<GroupRecord>,
    /// Writes whose fate the test decides, while it holds them.
    pub held: VecDeque<(WriteId, Vec<GroupRecord>)>,
    pub holds_writes: bool,
    /// What happened, in order, for the test to take.
    pub events: VecDeque<Event>,
    start: Instant,
    elapsed: Duration,
    inputs: u64,
    waiting: BTreeMap<RequestToken, Waiting>,
}

struct Waiting {
    api_version: i16,
    api: std::mem::Discriminant<GroupResponse>,
}

#[derive(Debug)]
pub enum Event {
    Answer(RequestToken, GroupResponse),
    Append(Vec<GroupRecord>),
}

impl Bench {
    pub fn new(config: GroupCoordinatorConfig) -> Bench {
        let mut bench = Bench::loading(config);
        bench.input(Input::Loaded);
        bench
    }

    /// A coordinator whose log is still being replayed.
    pub fn loading(config: GroupCoordinatorConfig) -> Bench {
        let start = Instant::now();
        Bench {
            coordinator: GroupCoordinator::new(config.clone(), start),
            config,
            log: Vec::new(),
            held: VecDeque::new(),
            holds_writes: false,
            events: VecDeque::new(),
            start,
            elapsed: Duration::ZERO,
            inputs: 0,
            waiting: BTreeMap::new(),
        }
    }

    pub fn now_ms(&self) -> i64 {
        START_MS + i64::try_from(self.elapsed.as_millis()).expect("tests are short")
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn request(
        &mut self,
        api_version: i16,
        client: &str,
        request: GroupRequest,
    ) -> RequestToken {
        let token = RequestToken(self.inputs);
        let api = request.error_response(api_version, ErrorCode::UnknownServerError);
        encode(api_version, &api);
        let api = std::mem::discriminant(&api);
        self.waiting.insert(token, Waiting { api_version, api });
        let context = RequestContext {
            api_version,
            client_id: StrBytes::from_string(client.to_owned()),
            client_host: "/127.0.0.1".into(),
        };
        self.input(Input::Request {
            token,
            context,
            request,
        });
        token
    }

    pub fn input(&mut self, input: Input) {
        self.inputs += 1;
        let (now, entropy) = (self.start + self.elapsed, u128::from(self.inputs));
        self.coordinator.handle(now, self.now_ms(), entropy, input);
        let mut appended = Vec::new();
        while let Some(output) = self.coordinator.poll_output() {
            match output {
                Output::Append { write, records } => {
                    self.events.push_back(Event::Append(records.clone()));
                    appended.push((write, records));
                }
                Output::Respond(token, response) => self.answered(token, response),
            }
        }
        self.held.extend(appended);
        if !self.holds_writes {
            self.commit_held();
        }
    }

    pub fn commit_held(&mut self) {
        while self.commit_one() {}
    }

    pub fn commit_one(&mut self) -> bool {
        let Some((write, records)) = self.held.pop_front() else {
            return false;
        };
        self.log.extend(records);
        let holds_writes = std::mem::replace(&mut self.holds_writes, true);
        self.input(Input::RecordsCommitted(write));
        self.holds_writes = holds_writes;
        true
    }

    pub fn fail_one(&mut self, error: ErrorCode) -> bool {
        let Some((write, _)) = self.held.pop_front() else {
            return false;
        };
        let holds_writes = std::mem::replace(&mut self.holds_writes, true);
        self.input(Input::RecordsFailed(write, error));
        self.holds_writes = holds_writes;
        true
    }

    /// Lets time pass, with a tick at every deadline on the way.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.elapsed + duration;
        let mut ticks_at_once = 0;
        while let Some(deadline) = self.coordinator.next_deadline() {
            let at = deadline.saturating_duration_since(self.start);
            if at > end {
                break;
            }
            ticks_at_once = if at > self.elapsed {
                0
            } else {
                ticks_at_once + 1
            };
            assert!(ticks_at_once < MOST_TICKS_AT_ONCE, "a timer is always due");
            self.elapsed = self.elapsed.max(at);
            self.input(Input::Tick);
        }
        self.elapsed = end;
    }

    /// A coordinator that has loaded this one's log, at the same time.
    pub fn reloaded(&self) -> Bench {
        let mut bench = Bench::loading(self.config.clone());
        bench.log = self.log.clone();
        bench.elapsed = self.elapsed;
        // Randomness does not begin anew either.
        bench.inputs = self.inputs;
        for record in bench.log.clone() {
            bench
                .coordinator
                .replay(record)
                .expect("what a coordinator wrote it can read");
        }
        bench.input(Input::Loaded);
        bench
    }

    fn answered(&mut self, token: RequestToken, response: GroupResponse) {
        let waiting = self.waiting.remove(&token);
        let waiting =
            waiting.unwrap_or_else(|| panic!("{token:?} has no answer due: {response:?}"));
        assert_eq!(
            waiting.api,
            std::mem::discriminant(&response),
            "the answer of another API"
        );
        encode(waiting.api_version, &response);
        self.events.push_back(Event::Answer(token, response));
    }
}

fn encode(api_version: i16, response: &GroupResponse) {
    match response {
        GroupResponse::OffsetCommit(response) => encode_message(api_version, response),
        GroupResponse::OffsetFetch(response) => encode_message(api_version, response),
        GroupResponse::JoinGroup(response) => encode_message(api_version, response),
        GroupResponse::Heartbeat(response) => encode_message(api_version, response),
        GroupResponse::LeaveGroup(response) => encode_message(api_version, response),
        GroupResponse::SyncGroup(response) => encode_message(api_version, response),
        GroupResponse::DescribeGroups(response) => encode_message(api_version, response),
        GroupResponse::ListGroups(response) => encode_message(api_version, response),
        GroupResponse::DeleteGroups(response) => encode_message(api_version, response),
        GroupResponse::OffsetDelete(response) => encode_message(api_version, response),
    }
}

fn encode_message<M: Encodable + Message + std::fmt::Debug>(api_version: i16, message: &M) {
    let encoded = message.encode(&mut BytesMut::new(), api_version);
    encoded.unwrap_or_else(|error| panic!("version {api_version}: {error}: {message:?}"));
}
