//! `millstream topic delete-records`: the oldest records go, up to a bound in each partition.

use std::collections::BTreeMap;

use millstream_client::{Client, ClientError, NamedPartition, OffsetSpec};
use serde_json::{Value, json};

use crate::arguments::{DeleteRecordsArguments, DeletionBound};
use crate::failure::Failure;
use crate::output::{Output, heading, table};

/// Deletes records, or says which would be deleted.
pub async fn delete_records(
    client: &Client,
    arguments: DeleteRecordsArguments,
    output: &Output,
) -> Result<(), Failure> {
    let topic = client.refreshed_topic(&arguments.topic, false).await?;
    let chosen: Vec<i32> = match arguments.partitions.is_empty() {
        true => topic.partitions.keys().copied().collect(),
        false => arguments.partitions.clone(),
    };
    if let Some(missing) = chosen
        .iter()
        .find(|index| !topic.partitions.contains_key(index))
    {
        let missing = ClientError::UnknownPartition {
            topic: topic.name.clone(),
            partition: *missing,
            count: topic.partitions.len(),
        };
        return Err(missing.into());
    }
    let partitions: Vec<NamedPartition> = chosen
        .into_iter()
        .map(|index| (topic.name.clone(), index))
        .collect();
    let ask = async |spec| client.offsets_at(&partitions, spec, false).await;
    let starts = ask(OffsetSpec::Earliest).await?;
    let ends = ask(OffsetSpec::Latest).await?;
    let before = match arguments.before {
        DeletionBound::End => ends.clone(),
        DeletionBound::Offset(offset) => partitions
            .iter()
            .map(|partition| (partition.clone(), offset))
            .collect(),
        DeletionBound::Time(moment) => {
            let time = moment.resolve(client.reactor().wall_clock_ms());
            ask(OffsetSpec::Timestamp(time)).await?
        }
    };
    let mut wanted: BTreeMap<NamedPartition, i64> = BTreeMap::new();
    for partition in &partitions {
        let of = |offsets: &BTreeMap<NamedPartition, i64>| offsets.get(partition).copied();
        let end = of(&ends).unwrap_or(0);
        // No record is as young as the time: all are older.
        let offset = of(&before).unwrap_or(end);
        if offset > end {
            let (topic, index) = partition;
            return Err(Failure::Usage(format!(
                "{topic}-{index} ends at offset {end}: nothing before {offset} can be deleted \
                 that is not there; --before end takes all"
            )));
        }
        wanted.insert(partition.clone(), offset.max(of(&starts).unwrap_or(0)));
    }
    let kept = match arguments.dry_run {
        true => wanted,
        false => client.delete_records(&wanted).await?,
    };
    report(&arguments, &starts, &kept, output)
}

fn report(
    arguments: &DeleteRecordsArguments,
    starts: &BTreeMap<NamedPartition, i64>,
    kept: &BTreeMap<NamedPartition, i64>,
    output: &Output,
) -> Result<(), Failure> {
    let start = |partition: &NamedPartition| starts.get(partition).copied();
    output.print(
        || {
            let partitions = kept.iter().map(|(partition, offset)| {
                json!({
                    "partition": partition.1,
                    "start_offset_before": start(partition),
                    "start_offset": offset,
                })
            });
            json!({
                "topic": arguments.topic,
                "deleted": !arguments.dry_run,
                "partitions": partitions.collect::<Value>(),
            })
        },
        || {
            let begins = match arguments.dry_run {
                true => "WOULD START",
                false => "STARTS",
            };
            let mut rows = vec![heading(&["TOPIC", "PARTITION", "STARTED", begins])];
            for (partition, offset) in kept {
                rows.push(vec![
                    partition.0.to_string(),
                    partition.1.to_string(),
                    crate::output::number_or_dash(start(partition)),
                    offset.to_string(),
                ]);
            }
            table(&rows)
        },
    )
}
