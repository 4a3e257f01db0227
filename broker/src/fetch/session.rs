//! Incremental fetch sessions (KIP-227): the partitions a client fetches, kept between requests so
//! that it names only what changes and is answered only with what changed.
//!
//! Invariants: at most `slots` sessions; a session's epoch moves by one with each request that is
//! answered in it; what a client was told last about a partition is what is kept here.

use std::time::{Duration, Instant};

use ahash::AHashMap;
use millstream_protocol::{ErrorCode, Offset, PartitionIndex, TopicId};

/// A session nobody used for so long may be given up for another.
const EVICTABLE_AFTER: Duration = Duration::from_secs(120);
/// Asks for no session, or ends one.
const FINAL_EPOCH: i32 = -1;
/// Asks for a new session.
const INITIAL_EPOCH: i32 = 0;

/// How a request names a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicRef {
    /// By name, up to version 12.
    Name(String),
    /// By id, from version 13.
    Id(TopicId),
}

/// A partition as a request names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartitionRef {
    /// The topic.
    pub topic: TopicRef,
    /// The partition.
    pub partition: PartitionIndex,
}

/// What a client wants of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchWant {
    /// Which one.
    pub partition: PartitionRef,
    /// The first offset wanted.
    pub fetch_offset: Offset,
    /// Most bytes wanted.
    pub max_bytes: i32,
    /// The leader's term as the client knows it; −1 for not checked.
    pub current_leader_epoch: i32,
    /// The term of the last record the client has; −1 for not checked.
    pub last_fetched_epoch: i32,
}

/// What is about to be told of one partition, as far as a session compares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchNews {
    /// There are records, or the logs diverge.
    pub must_tell: bool,
    /// There is an error.
    pub is_error: bool,
    /// The high watermark.
    pub high_watermark: i64,
    /// The log's first offset.
    pub log_start_offset: i64,
}

#[derive(Debug)]
struct Cached {
    want: FetchWant,
    high_watermark: i64,
    log_start_offset: i64,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    by_id: bool,
    partitions: Vec<Cached>,
    index: AHashMap<PartitionRef, usize>,
    last_used: Instant,
}

/// How a request is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchContext {
    /// Everything, outside any session.
    Sessionless,
    /// Everything, in a new session if there is room for one.
    Full {
        /// Whether topics are named by id.
        by_id: bool,
    },
    /// Only what changed.
    Incremental {
        /// The session.
        id: i32,
        /// Its epoch, after this request.
        epoch: i32,
    },
}

/// The sessions of one shard.
#[derive(Debug)]
pub struct FetchSessions {
    slots: usize,
    sessions: AHashMap<i32, Session>,
}

impl FetchSessions {
    /// Room for `slots` sessions.
    pub fn new(slots: usize) -> FetchSessions {
        FetchSessions {
            slots,
            sessions: AHashMap::new(),
        }
    }

    /// Takes a request: gives what it wants of which partitions, in order, and how to answer.
    pub fn begin(
        &mut self,
        now: Instant,
        (session_id, session_epoch): (i32, i32),
        by_id: bool,
        wants: Vec<FetchWant>,
        forgotten: &[PartitionRef],
    ) -> Result<(FetchContext, Vec<FetchWant>), ErrorCode> {
        if session_epoch == FINAL_EPOCH || session_epoch == INITIAL_EPOCH {
            self.sessions.remove(&session_id);
            let context = match session_epoch {
                FINAL_EPOCH => FetchContext::Sessionless,
                _ => FetchContext::Full { by_id },
            };
            return Ok((context, wants));
        }
        let session = self
            .sessions
            .get_mut(&session_id)
            .ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.by_id != by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        if session.epoch != session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        session.update(wants, forgotten);
        if session.partitions.is_empty() {
            self.sessions.remove(&session_id);
            return Ok((FetchContext::Sessionless, Vec::new()));
        }
        session.epoch = next_epoch(session_epoch);
        session.last_used = now;
        let wants = session
            .partitions
            .iter()
            .map(|cached| cached.want.clone())
            .collect();
        Ok((
            FetchContext::Incremental {
                id: session_id,
                epoch: session.epoch,
            },
            wants,
        ))
    }

    /// Decides which of `answers` are told: gives the session id of the response, and for each
    /// answer whether it is in it. `fresh_id` names a session that may be made.
    pub fn finish(
        &mut self,
        now: Instant,
        context: FetchContext,
        answers: &[(&FetchWant, FetchNews)],
        fresh_id: impl FnMut() -> i32,
    ) -> Result<(i32, Vec<bool>), ErrorCode> {
        match context {
            FetchContext::Sessionless => Ok((0, vec![true; answers.len()])),
            FetchContext::Full { by_id } => Ok((
                self.create(now, by_id, answers, fresh_id),
                vec![true; answers.len()],
            )),
            FetchContext::Incremental { id, epoch } => {
                let session = self
                    .sessions
                    .get_mut(&id)
                    .ok_or(ErrorCode::FetchSessionIdNotFound)?;
                if session.epoch != epoch {
                    return Err(ErrorCode::InvalidFetchSessionEpoch);
                }
                session.last_used = now;
                Ok((id, session.tell(answers)))
            }
        }
    }

    /// Sessions kept now.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether no session is kept.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn create(
        &mut self,
        now: Instant,
        by_id: bool,
        answers: &[(&FetchWant, FetchNews)],
        mut fresh_id: impl FnMut() -> i32,
    ) -> i32 {
        if answers.is_empty() || !self.make_room(now) {
            return 0;
        }
        let id = loop {
            let id = fresh_id();
            if id > 0 && !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session {
            epoch: next_epoch(INITIAL_EPOCH),
            by_id,
            partitions: Vec::with_capacity(answers.len()),
            index: AHashMap::new(),
            last_used: now,
        };
        for (want, news) in answers {
            session.put(
                (*want).clone(),
                news.kept_high_watermark(),
                news.log_start_offset,
            );
        }
        self.sessions.insert(id, session);
        id
    }

    fn make_room(&mut self, now: Instant) -> bool {
        if self.sessions.len() < self.slots {
            return true;
        }
        let oldest = self
            .sessions
            .iter()
            .min_by_key(|(_, session)| session.last_used);
        match oldest.map(|(id, session)| (*id, session.last_used)) {
            Some((id, used)) if now.duration_since(used) > EVICTABLE_AFTER => {
                self.sessions.remove(&id);
                true
            }
            _ => false,
        }
    }
}

impl FetchNews {
    /// After an error the high watermark counts as unknown, so that the partition is told of again
    /// once the error is gone.
    fn kept_high_watermark(&self) -> i64 {
        if self.is_error {
            -1
        } else {
            self.high_watermark
        }
    }
}

impl Session {
    fn update(&mut self, wants: Vec<FetchWant>, forgotten: &[PartitionRef]) {
        for want in wants {
            match self.index.get(&want.partition) {
                Some(at) => self.partitions[*at].want = want,
                None => self.put(want, -1, -1),
            }
        }
        if forgotten
            .iter()
            .any(|partition| self.index.contains_key(partition))
        {
            self.partitions
                .retain(|cached| !forgotten.contains(&cached.want.partition));
            self.reindex();
        }
    }

    fn put(&mut self, want: FetchWant, high_watermark: i64, log_start_offset: i64) {
        match self.index.get(&want.partition) {
            Some(at) => {
                self.partitions[*at] = Cached {
                    want,
                    high_watermark,
                    log_start_offset,
                };
            }
            None => {
                self.index
                    .insert(want.partition.clone(), self.partitions.len());
                self.partitions.push(Cached {
                    want,
                    high_watermark,
                    log_start_offset,
                });
            }
        }
    }

    /// Marks what is told; partitions with records go to the end of the order, so that the others
    /// have their turn when the next answer has no room for all.
    fn tell(&mut self, answers: &[(&FetchWant, FetchNews)]) -> Vec<bool> {
        let mut moved = Vec::new();
        let told = answers
            .iter()
            .map(|(want, news)| {
                let Some(cached) = self.index.get(&want.partition).copied() else {
                    return true;
                };
                let cached = &mut self.partitions[cached];
                let changed = cached.high_watermark != news.high_watermark
                    || cached.log_start_offset != news.log_start_offset;
                cached.high_watermark = news.kept_high_watermark();
                cached.log_start_offset = news.log_start_offset;
                if news.must_tell && !news.is_error {
                    moved.push(want.partition.clone());
                }
                changed || news.must_tell || news.is_error
            })
            .collect();
        if !moved.is_empty() && moved.len() < self.partitions.len() {
            let (last, first): (Vec<_>, Vec<_>) = std::mem::take(&mut self.partitions)
                .into_iter()
                .partition(|cached| moved.contains(&cached.want.partition));
            self.partitions = first;
            self.partitions.extend(last);
            self.reindex();
        }
        told
    }

    fn reindex(&mut self) {
        self.index.clear();
        for (at, cached) in self.partitions.iter().enumerate() {
            self.index.insert(cached.want.partition.clone(), at);
        }
    }
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(partition: i32) -> FetchWant {
        FetchWant {
            partition: PartitionRef {
                topic: TopicRef::Name("t".into()),
                partition: PartitionIndex(partition),
            },
            fetch_offset: Offset(0),
            max_bytes: 100,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
        }
    }

    fn news(must_tell: bool, high_watermark: i64) -> FetchNews {
        FetchNews {
            must_tell,
            is_error: false,
            high_watermark,
            log_start_offset: 0,
        }
    }

    /// A session of partitions 0, 1 and 2, each with high watermark 5.
    fn session(sessions: &mut FetchSessions, now: Instant) -> i32 {
        let wants = vec![want(0), want(1), want(2)];
        let (context, wants) = sessions
            .begin(now, (0, 0), false, wants, &[])
            .expect("a full fetch is taken");
        let answers: Vec<_> = wants.iter().map(|want| (want, news(false, 5))).collect();
        let (id, told) = sessions
            .finish(now, context, &answers, || 7)
            .expect("answered");
        assert_eq!(told, [true; 3]);
        id
    }

    #[test]
    fn only_what_changed_is_told() {
        let (mut sessions, now) = (FetchSessions::new(2), Instant::now());
        let id = session(&mut sessions, now);
        assert_eq!(id, 7);
        let (context, wants) = sessions
            .begin(now, (id, 1), false, Vec::new(), &[])
            .expect("incremental");
        assert_eq!(wants.len(), 3);
        let error = FetchNews {
            is_error: true,
            ..news(false, 5)
        };
        let answers = [
            (&wants[0], news(true, 5)),
            (&wants[1], news(false, 6)),
            (&wants[2], error),
        ];
        let told = sessions
            .finish(now, context, &answers, || 0)
            .expect("answered")
            .1;
        assert_eq!(told, [true; 3]);
        let (context, wants) = sessions
            .begin(now, (id, 2), false, Vec::new(), &[])
            .expect("incremental");
        let order: Vec<_> = wants
            .iter()
            .map(|want| want.partition.partition.0)
            .collect();
        assert_eq!(order, [1, 2, 0], "what had records has its turn last");
        let answers = [
            (&wants[0], news(false, 6)),
            (&wants[1], news(false, 5)),
            (&wants[2], news(false, 5)),
        ];
        let told = sessions
            .finish(now, context, &answers, || 0)
            .expect("answered")
            .1;
        assert_eq!(
            told,
            [false, true, false],
            "after its error partition 2 is told of again"
        );
    }

    #[test]
    fn partitions_are_added_changed_and_forgotten() {
        let (mut sessions, now) = (FetchSessions::new(2), Instant::now());
        let id = session(&mut sessions, now);
        let changed = FetchWant {
            fetch_offset: Offset(9),
            ..want(1)
        };
        let (_, wants) = sessions
            .begin(
                now,
                (id, 1),
                false,
                vec![changed.clone(), want(3)],
                &[want(0).partition],
            )
            .expect("incremental");
        assert_eq!(wants, [changed, want(2), want(3)]);
        let all: Vec<_> = (1..4).map(|p| want(p).partition).collect();
        let (context, wants) = sessions
            .begin(now, (id, 2), false, Vec::new(), &all)
            .expect("emptied");
        assert_eq!(
            (context, wants.len(), sessions.len()),
            (FetchContext::Sessionless, 0, 0)
        );
    }

    #[test]
    fn wrong_ids_and_epochs_have_kafkas_errors() {
        let (mut sessions, now) = (FetchSessions::new(2), Instant::now());
        let id = session(&mut sessions, now);
        let mut begin = |id, epoch, by_id| sessions.begin(now, (id, epoch), by_id, Vec::new(), &[]);
        assert_eq!(
            begin(99, 1, false).expect_err("no"),
            ErrorCode::FetchSessionIdNotFound
        );
        assert_eq!(
            begin(id, 5, false).expect_err("no"),
            ErrorCode::InvalidFetchSessionEpoch
        );
        assert_eq!(
            begin(id, 1, true).expect_err("no"),
            ErrorCode::FetchSessionTopicIdError
        );
        assert_eq!(
            begin(id, -1, false).expect("closed").0,
            FetchContext::Sessionless
        );
        assert_eq!(
            begin(id, 1, false).expect_err("no"),
            ErrorCode::FetchSessionIdNotFound
        );
    }

    #[test]
    fn a_session_that_is_closed_or_begun_anew_leaves_its_slot() {
        let (mut sessions, now) = (FetchSessions::new(1), Instant::now());
        for epoch in [-1, 0] {
            let id = session(&mut sessions, now);
            assert_eq!((id, sessions.len()), (7, 1));
            let begun = sessions.begin(now, (id, epoch), false, Vec::new(), &[]);
            begun.expect("the old one is given up");
            assert!(sessions.is_empty());
        }
        assert_eq!(session(&mut sessions, now), 7);
    }

    #[test]
    fn a_full_cache_gives_no_session_until_one_is_old() {
        let (mut sessions, now) = (FetchSessions::new(1), Instant::now());
        assert_eq!(session(&mut sessions, now), 7);
        let wants = [want(0)];
        let answers = [(&wants[0], news(false, 0))];
        let full = FetchContext::Full { by_id: false };
        let id = sessions
            .finish(now, full, &answers, || 8)
            .expect("answered")
            .0;
        assert_eq!(id, 0);
        let later = now + EVICTABLE_AFTER + Duration::from_millis(1);
        assert_eq!(
            sessions
                .finish(later, full, &answers, || 8)
                .expect("answered")
                .0,
            8
        );
        assert_eq!(sessions.len(), 1);
    }
}
