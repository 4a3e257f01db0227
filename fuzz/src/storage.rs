//! A partition's folder in which one file is the input: opened, read to its end, and closed, in
//! the simulator. Whatever the file holds, that ends in records or in an error.

use std::path::Path;

use millstream_protocol::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use millstream_reactor::sim::Simulation;
use millstream_storage::{AppendOrigin, Log, LogConfig, ShardStore, StartState, StoreConfig};

const ROOT: &str = "/data";
/// The files of the folder; the input's first byte chooses.
const FILES: [&str; 10] = [
    "t-0/00000000000000000000.log",
    "t-0/00000000000000000000.index",
    "t-0/00000000000000000000.timeindex",
    "t-0/00000000000000000036.log",
    "t-0/00000000000000000036.index",
    "t-0/00000000000000000036.timeindex",
    "t-0/00000000000000000036.snapshot",
    "t-0/leader-epoch-checkpoint",
    "t-0/partition.metadata",
    "recovery-point-offset-checkpoint",
];
macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(
            "../../storage/tests/fixtures/millstream-0.1/clean/t-0/",
            $name
        ))
    };
}

/// What the other files hold: two segments of a fixture.
const GOOD: [&[u8]; 10] = [
    fixture!("00000000000000000000.log"),
    fixture!("00000000000000000000.index"),
    fixture!("00000000000000000000.timeindex"),
    fixture!("00000000000000000036.log"),
    fixture!("00000000000000000036.index"),
    fixture!("00000000000000000036.timeindex"),
    fixture!("00000000000000000036.snapshot"),
    fixture!("leader-epoch-checkpoint"),
    fixture!("partition.metadata"),
    // Part of the second segment is looked through again.
    b"0\n1\nt 0 40\n",
];

/// The input: which file, and what is in it. Whether the log opened and could be read to its end.
pub fn partition_folder(data: &[u8]) -> bool {
    let Some((choice, content)) = data.split_first() else {
        return false;
    };
    let chosen = usize::from(*choice) % FILES.len();
    let simulation = Simulation::with_seed(1);
    let node = simulation.add_node("node");
    node.make_dir(Path::new(ROOT).join("t-0"));
    for (at, (file, good)) in FILES.iter().zip(GOOD).enumerate() {
        let content = if at == chosen { content } else { good };
        node.plant_file(Path::new(ROOT).join(file), content);
    }
    let reactor = node.reactor();
    let life = async move {
        let Ok(start) = StartState::take(&reactor, Path::new(ROOT)).await else {
            return false;
        };
        let store = ShardStore::new(reactor.clone(), StoreConfig::new(ROOT, 0), start);
        // The fixture's.
        let id = TopicId(uuid::Uuid::from_u128(1));
        let config = LogConfig::default();
        let opened = Log::open(&store, "t", PartitionIndex(0), id, config).await;
        let Ok((log, _)) = opened else { return false };
        let mut next = log.log_start_offset();
        let end = log.log_end_offset();
        while next < end {
            let Ok(plan) = log.read(next, 1 << 20, end, true).await else {
                break;
            };
            let Some(after) = plan.next_offset else { break };
            assert!(after > next, "a read at {next} ends at {after}");
            if plan.load(&reactor).await.is_err() {
                break;
            }
            next = after;
        }
        // Errors are answers here.
        let _ = log.offset_for_timestamp(1_700_000_000_000, end).await;
        let _ = log.max_timestamp_offset(end).await;
        let _ = log.append(
            &batch(),
            LeaderEpoch(9),
            AppendOrigin::Client,
            1_700_000_000_000,
        );
        store.close().await;
        next == end
    };
    node.run(life).expect("the node does not crash")
}

fn batch() -> bytes::Bytes {
    use millstream_protocol::compression::Codec;
    use millstream_protocol::record_batch::BatchBuilder;
    let mut batch = BatchBuilder::new(Codec::None).base_offset(Offset(0));
    batch.push(1_700_000_000_000, None, Some(b"value"), &[]);
    batch.build().expect("nothing is compressed")
}
