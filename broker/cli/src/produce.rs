//! `millstream produce`: lines in, records out.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::rc::Rc;

use bytes::Bytes;
use futures::executor::block_on;
use millstream_client::{
    Acks, Client, Delivery, Producer, ProducerConfig, ProducerRecord, RecordMetadata,
};
use millstream_protocol::compression::Codec;
use millstream_reactor::{Receiver, Sender, mailbox};
use serde_json::{Value, json};

use crate::arguments::{AcksName, CodecName, ProduceArguments};
use crate::failure::Failure;
use crate::output::Output;

/// Lines read ahead of the producer.
const LINES_AHEAD: usize = 1024;
/// Records whose answers have not been looked at.
const MAX_UNANSWERED: usize = 100_000;

/// Produces the lines of a file or of standard input.
pub async fn produce(
    client: Client,
    arguments: ProduceArguments,
    output: Output,
) -> Result<(), Failure> {
    let mut lines = read_lines(&arguments)?;
    let acks = match arguments.acks {
        AcksName::All => Acks::All,
        AcksName::Leader => Acks::Leader,
        AcksName::None => Acks::None,
    };
    let config = ProducerConfig {
        acks,
        codec: match arguments.codec {
            CodecName::None => Codec::None,
            CodecName::Gzip => Codec::Gzip,
            CodecName::Snappy => Codec::Snappy,
            CodecName::Lz4 => Codec::Lz4,
            CodecName::Zstd => Codec::Zstd,
        },
        idempotent: acks == Acks::All,
        ..ProducerConfig::default()
    };
    let topic: Rc<str> = arguments.topic.as_str().into();
    // A wrong topic is said before anything is typed.
    client.topic(&topic, config.create_topics).await?;
    let producer = Producer::new(client, config);
    let mut written = Written::default();
    let mut unanswered: VecDeque<Delivery> = VecDeque::new();
    while let Some(line) = lines.recv().await {
        let line = line.map_err(|source| Failure::Stream {
            what: "reading records",
            source,
        })?;
        let record = record(&arguments, &topic, line)?;
        unanswered.push_back(producer.send(record).await?);
        if unanswered.len() >= MAX_UNANSWERED {
            let oldest = unanswered.pop_front().expect("there are many");
            written.add(oldest.await?);
        }
    }
    producer.flush().await;
    for delivery in unanswered {
        written.add(delivery.await?);
    }
    written.report(&topic, output)
}

fn record(
    arguments: &ProduceArguments,
    topic: &Rc<str>,
    line: Vec<u8>,
) -> Result<ProducerRecord, Failure> {
    let line = Bytes::from(line);
    let (key, value) = match &arguments.key_separator {
        None => (None, line),
        Some(separator) => {
            let found = line
                .windows(separator.len())
                .position(|window| window == separator.as_bytes());
            let Some(at) = found else {
                return Err(Failure::Usage(format!(
                    "this line has no key separator {separator:?}: {:?}",
                    String::from_utf8_lossy(&line)
                )));
            };
            (Some(line.slice(..at)), line.slice(at + separator.len()..))
        }
    };
    let headers = arguments.headers.iter();
    Ok(ProducerRecord {
        topic: topic.clone(),
        partition: arguments.partition,
        key,
        value: (!arguments.empty_as_null || !value.is_empty()).then_some(value),
        headers: headers
            .map(|(name, value)| (name.clone(), Some(Bytes::from(value.clone()))))
            .collect(),
        timestamp: None,
    })
}

/// Reads lines on a thread of their own: reading blocks, and the shard's thread must not.
fn read_lines(arguments: &ProduceArguments) -> Result<Receiver<io::Result<Vec<u8>>>, Failure> {
    let (sender, receiver) = mailbox(LINES_AHEAD);
    let file = match &arguments.file {
        None => None,
        Some(path) => Some(File::open(path).map_err(|source| Failure::file(path, source))?),
    };
    let reader = std::thread::Builder::new().name("reader".to_owned());
    let reading = reader.spawn(move || match file {
        Some(file) => send_lines(BufReader::with_capacity(256 * 1024, file), sender),
        None => send_lines(io::stdin().lock(), sender),
    });
    match reading {
        Ok(_) => Ok(receiver),
        Err(source) => Err(Failure::Stream {
            what: "starting the reader",
            source,
        }),
    }
}

fn send_lines(mut input: impl BufRead, mut sender: Sender<io::Result<Vec<u8>>>) {
    loop {
        let mut line = Vec::new();
        let read = input.read_until(b'\n', &mut line);
        let message = match read {
            Ok(0) => return,
            Ok(_) => {
                if line.ends_with(b"\n") {
                    line.pop();
                }
                Ok(line)
            }
            Err(error) => Err(error),
        };
        let failed = message.is_err();
        if block_on(sender.send(message)).is_err() || failed {
            return;
        }
    }
}

/// What was written where.
#[derive(Default)]
struct Written {
    records: u64,
    /// First and last offset by partition; none where no offset came back.
    partitions: BTreeMap<i32, (i64, i64)>,
}

impl Written {
    fn add(&mut self, record: RecordMetadata) {
        self.records += 1;
        let range = self
            .partitions
            .entry(record.partition)
            .or_insert((record.offset, record.offset));
        range.0 = range.0.min(record.offset);
        range.1 = range.1.max(record.offset);
    }

    fn report(&self, topic: &str, output: Output) -> Result<(), Failure> {
        if output.is_json() {
            let partitions = self.partitions.iter().map(|(partition, (first, last))| {
                let known = |offset: i64| (offset >= 0).then_some(offset);
                json!({
                    "partition": partition,
                    "first_offset": known(*first),
                    "last_offset": known(*last),
                })
            });
            let partitions: Value = partitions.collect();
            let report = json!({"topic": topic, "records": self.records, "partitions": partitions});
            return output.print(|| report, String::new);
        }
        // Standard output stays empty, as for other producers; a person at a terminal is told.
        if io::stderr().is_terminal() {
            let places = self
                .partitions
                .iter()
                .map(|(partition, range)| match range {
                    (..=-1, _) => format!("partition {partition}"),
                    (first, last) => format!("partition {partition} offsets {first}-{last}"),
                });
            let places: Vec<String> = places.collect();
            eprintln!("{} records to {topic}: {}", self.records, places.join(", "));
        }
        Ok(())
    }
}
