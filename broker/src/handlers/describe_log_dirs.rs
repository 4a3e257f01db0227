//! DescribeLogDirs, versions 1–5: how much this node's partitions take on the disk.
//!
//! There is one folder of data, and no replica on its way to another one. Version 3 has an error of
//! its own for requests that are refused, version 4 the size of the file system and what is left of
//! it (KIP-827), version 5 whether new partitions are kept out of it (KIP-1066), which they never
//! are. Partitions that this node does not have are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, absolute};
use std::rc::Rc;

use millstream_protocol::ErrorCode;
use millstream_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use millstream_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use tracing::warn;

use super::{RequestInfo, text};
use crate::shard::{LogSize, Shard};

pub(super) async fn handle(
    shard: &Rc<Shard>,
    info: RequestInfo,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let folder = &shard.config().log_dir;
    let named = absolute(folder).unwrap_or_else(|_| folder.clone());
    let result = DescribeLogDirsResult::default().with_log_dir(text(named.to_string_lossy()));
    let result = match shard.reactor().fs().space(folder).await {
        Ok(space) => {
            let sizes = shard.log_sizes().await;
            let result = result.with_topics(topics(&request, sizes));
            match info.version {
                ..4 => result,
                _ => result
                    .with_total_bytes(signed(space.total_bytes))
                    .with_usable_bytes(signed(space.usable_bytes)),
            }
        }
        Err(cause) => {
            warn_of(folder, &cause);
            result.with_error_code(ErrorCode::KafkaStorageError.code())
        }
    };
    DescribeLogDirsResponse::default().with_results(vec![result])
}

fn topics(request: &DescribeLogDirsRequest, sizes: Vec<LogSize>) -> Vec<DescribeLogDirsTopic> {
    let asked: Option<BTreeSet<(&str, i32)>> = request.topics.as_ref().map(|topics| {
        let each = topics.iter();
        each.flat_map(|topic| topic.partitions.iter().map(|p| (topic.topic.as_str(), *p)))
            .collect()
    });
    let mut topics: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for log in sizes {
        let index = log.partition.0;
        if asked
            .as_ref()
            .is_none_or(|asked| asked.contains(&(&*log.topic, index)))
        {
            let described = DescribeLogDirsPartition::default()
                .with_partition_index(index)
                .with_partition_size(signed(log.bytes));
            topics.entry(log.topic).or_default().push(described);
        }
    }
    let topics = topics.into_iter().map(|(name, mut partitions)| {
        partitions.sort_by_key(|partition| partition.partition_index);
        DescribeLogDirsTopic::default()
            .with_name(TopicName(text(&*name)))
            .with_partitions(partitions)
    });
    topics.collect()
}

fn warn_of(folder: &Path, cause: &std::io::Error) {
    warn!(folder = %folder.display(), %cause, "the space of the folder of data is not known");
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
