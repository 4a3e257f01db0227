//! Reading as a property: whatever the sizes, a consumer that follows the answers gets every batch
//! exactly once, from memory and from disk, before and after a restart.

use millstream_protocol::{LeaderEpoch, Offset};
use millstream_reactor::Reactor;
use millstream_reactor::sim::{CrashOptions, KeepUnsynced};
use millstream_storage::{AppendError, AppendOrigin, ColdRead, LogConfig, StoreConfig};
use proptest::prelude::*;

use crate::harness::*;

#[derive(Debug, Clone)]
struct Case {
    seed: u64,
    /// Records of each batch, and bytes of each record.
    batches: Vec<(usize, usize)>,
    segment_bytes: u32,
    index_interval_bytes: u32,
    tail_memory_bytes: usize,
    cold_read: ColdRead,
    budgets: Vec<usize>,
    starts: Vec<prop::sample::Index>,
    uppers: Vec<prop::sample::Index>,
    rest: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let size = prop_oneof![
        20 => (1usize..5, 1usize..300),
        5 => (1usize..3, 300usize..6_000),
        1 => (1usize..3, 6_000usize..60_000),
    ];
    let budget = prop_oneof![Just(1usize), 1usize..2_000, 2_000usize..300_000];
    (
        any::<u64>(),
        prop::collection::vec(size, 1..120),
        prop_oneof![3_000u32..20_000, 20_000u32..400_000],
        prop_oneof![Just(0u32), 1u32..600, 600u32..9_000],
        prop_oneof![40_000usize..60_000, Just(1usize << 20)],
        prop_oneof![
            Just(ColdRead::Auto),
            Just(ColdRead::Buffered),
            Just(ColdRead::Direct)
        ],
        prop::collection::vec(budget, 2),
        prop::collection::vec(any::<prop::sample::Index>(), 3),
        prop::collection::vec(any::<prop::sample::Index>(), 3),
        any::<bool>(),
    )
        .prop_map(
            |(
                seed,
                batches,
                segment_bytes,
                index_interval_bytes,
                tail_memory_bytes,
                cold_read,
                budgets,
                starts,
                uppers,
                rest,
            )| Case {
                seed,
                batches,
                segment_bytes,
                index_interval_bytes,
                tail_memory_bytes,
                cold_read,
                budgets,
                starts,
                uppers,
                rest,
            },
        )
}

impl Case {
    fn store(&self) -> StoreConfig {
        StoreConfig {
            tail_memory_bytes: self.tail_memory_bytes,
            cold_read: self.cold_read,
            ..small_store()
        }
    }

    fn config(&self) -> LogConfig {
        LogConfig {
            segment_bytes: self.segment_bytes,
            index_interval_bytes: self.index_interval_bytes,
            ..LogConfig::default()
        }
    }
}

async fn fill(opened: &Opened, case: &Case) -> Model {
    let mut model = Model::default();
    for (index, &(count, len)) in case.batches.iter().enumerate() {
        // As a follower does, which takes batches larger than its own segments.
        let bytes = stamped(&batch(count, len, index as i64), model.end(), 0);
        loop {
            let room = opened.store.room().notified();
            match opened
                .log
                .append(&bytes, LeaderEpoch(0), AppendOrigin::Replication, 1)
            {
                Ok(_) => break,
                Err(AppendError::NoRoom) => room.await,
                Err(error) => panic!("{error}"),
            }
        }
        model.add(Offset(model.end()), bytes);
    }
    model
}

async fn check(reactor: &Reactor, opened: &Opened, model: &Model, case: &Case) {
    let log = &opened.log;
    assert_eq!(log.log_end_offset().0, model.end());
    for &budget in &case.budgets {
        assert_eq!(
            follow(reactor, log, 0, budget).await,
            model.bytes(),
            "budget {budget}"
        );
    }
    for start in &case.starts {
        let from = start.index(model.end() as usize) as i64;
        let read = follow(reactor, log, from, case.budgets[0]).await;
        assert_eq!(read, model.bytes_from(from), "from {from}");
    }
    for (start, upper) in case.starts.iter().zip(&case.uppers) {
        let from = start.index(model.end() as usize) as i64;
        let upper = from + upper.index((model.end() - from) as usize + 1) as i64;
        let expected: Vec<u8> = model
            .batches
            .iter()
            .filter(|batch| batch.next_offset > from && batch.next_offset <= upper)
            .flat_map(|batch| batch.bytes.clone())
            .collect();
        let plan = log
            .read(Offset(from), usize::MAX >> 1, Offset(upper), true)
            .await
            .expect("readable");
        let bytes = plan.load_contiguous(reactor).await.expect("readable");
        assert_eq!(bytes, expected, "[{from}, {upper})");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_batch_is_read_exactly_once(case in cases()) {
        let (_simulation, node) = simulation(case.seed);
        let first = case.clone();
        let model = run(&node, |reactor| async move {
            let opened = open(&reactor, first.store(), first.config()).await.expect("opens");
            let model = fill(&opened, &first).await;
            check(&reactor, &opened, &model, &first).await;
            opened.log.flush().await.expect("flushed");
            if first.rest {
                opened.store.checkpoint().await.expect("made");
                reactor.sleep(std::time::Duration::from_secs(60)).await;
                check(&reactor, &opened, &model, &first).await;
            }
            model
        });
        node.crash(CrashOptions::keep(KeepUnsynced::None));
        for clean in [false, true] {
            let (case, model) = (case.clone(), model.clone());
            run(&node, |reactor| async move {
                let opened = open(&reactor, case.store(), case.config()).await.expect("opens");
                assert_eq!(opened.start.was_clean(), clean);
                check(&reactor, &opened, &model, &case).await;
                assert!(stop(&reactor, &opened).await);
            });
        }
    }
}

/// Larger than every buffer: the tail's, the search's, the recovery's.
#[test]
fn a_batch_larger_than_every_buffer() {
    let (_simulation, node) = simulation(1);
    let config = || LogConfig {
        segment_bytes: 8 << 20,
        ..LogConfig::default()
    };
    let model = run(&node, |reactor| async move {
        let opened = open(&reactor, small_store(), config())
            .await
            .expect("opens");
        let mut model = Model::default();
        for len in [10, 3_000_000, 10, 1_500_000] {
            append(&opened.log, &mut model, 0, &batch(1, len, 1));
            opened.log.flush().await.expect("flushed");
        }
        assert_eq!(follow(&reactor, &opened.log, 0, 100).await, model.bytes());
        model
    });
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    run(&node, |reactor| async move {
        let opened = open(&reactor, small_store(), config())
            .await
            .expect("opens");
        assert_eq!(follow(&reactor, &opened.log, 0, 100).await, model.bytes());
    });
}
