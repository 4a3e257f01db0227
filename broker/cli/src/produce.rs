//! `millstream produce`: lines or JSON in, records out.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::rc::Rc;

use bytes::Bytes;
use futures::executor::block_on;
use millstream_client::{
    Acks, Client, Delivery, Producer, ProducerConfig, ProducerRecord, RecordMetadata,
};
use millstream_protocol::compression::Codec;
use millstream_reactor::{Receiver, Sender, mailbox};
use serde_json::{Value, json};

use crate::arguments::{AcksName, CodecName, InputFormat, ProduceArguments};
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;
use crate::record_format::record_from_json;

/// Lines read ahead of the producer.
const LINES_AHEAD: usize = 1024;
/// Lines of a file taken before what has been gathered may leave.
const LINES_AT_ONCE: u64 = 256;
/// Records whose answers have not been looked at.
const MAX_UNANSWERED: usize = 100_000;

/// Produces the lines of a file or of standard input.
pub async fn produce(
    client: Client,
    arguments: ProduceArguments,
    output: &Output,
) -> Result<(), Failure> {
    let (mut lines, size) = Lines::open(&arguments)?;
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
    let reactor = client.reactor().clone();
    let producer = Producer::new(client, config);
    let timestamp = arguments.timestamp;
    let timestamp = timestamp.map(|moment| moment.resolve(reactor.wall_clock_ms()));
    let shape = Shape {
        arguments: &arguments,
        topic: topic.clone(),
        timestamp,
    };
    let mut written = Written::default();
    let mut unanswered: VecDeque<Delivery> = VecDeque::new();
    let mut progress = Progress::of_bytes(output, size);
    let mut number = 0_u64;
    while let Some(line) = lines.next().await {
        let line = line.map_err(|source| Failure::Stream {
            what: "reading records",
            source,
        })?;
        number += 1;
        progress.add(line.len() as u64 + 1);
        if number.is_multiple_of(LINES_AT_ONCE) {
            reactor.yield_now().await;
        }
        let record = shape.record(line, number)?;
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
    drop(progress);
    written.report(&topic, output)
}

/// How a line becomes a record.
struct Shape<'a> {
    arguments: &'a ProduceArguments,
    topic: Rc<str>,
    timestamp: Option<i64>,
}

impl Shape<'_> {
    fn record(&self, line: Vec<u8>, number: u64) -> Result<ProducerRecord, Failure> {
        let arguments = self.arguments;
        let mut record = match arguments.input {
            InputFormat::Lines => self.plain(Bytes::from(line), number)?,
            InputFormat::Json => record_from_json(&line).map_err(|error| {
                Failure::Usage(format!("line {number} is no record in JSON: {error}"))
            })?,
        };
        record.topic = self.topic.clone();
        record.partition = arguments.partition.or(record.partition);
        record.timestamp = self.timestamp.or(record.timestamp);
        if let Some(key) = &arguments.key {
            record.key = Some(Bytes::copy_from_slice(key.as_bytes()));
        }
        let headers = arguments.headers.iter();
        let headers = headers.map(|(name, value)| (name.clone(), Some(value.clone().into())));
        record.headers.extend(headers);
        if arguments.empty_as_null && record.value.as_ref().is_some_and(Bytes::is_empty) {
            record.value = None;
        }
        Ok(record)
    }

    fn plain(&self, line: Bytes, number: u64) -> Result<ProducerRecord, Failure> {
        let (key, value) = match &self.arguments.key_separator {
            None => (None, line),
            Some(separator) => {
                let found = line
                    .windows(separator.len())
                    .position(|window| window == separator.as_bytes());
                let Some(at) = found else {
                    return Err(Failure::Usage(format!(
                        "line {number} has no key separator {separator:?}: {:?}",
                        String::from_utf8_lossy(&line)
                    )));
                };
                (Some(line.slice(..at)), line.slice(at + separator.len()..))
            }
        };
        Ok(ProducerRecord {
            key,
            value: Some(value),
            ..ProducerRecord::default()
        })
    }
}

/// Where lines come from.
enum Lines {
    /// A file, whose reading keeps nobody waiting for long.
    File(BufReader<File>, u8),
    /// A thread that reads what may keep us waiting, as the shard's thread must not.
    Thread(Receiver<io::Result<Vec<u8>>>),
}

impl Lines {
    /// The lines, and how many bytes they have if that is known.
    fn open(arguments: &ProduceArguments) -> Result<(Lines, u64), Failure> {
        let separator = arguments.record_separator.unwrap_or(b'\n');
        let Some(path) = &arguments.file else {
            let lines = read_on_thread(io::BufReader::new(io::stdin()), separator)?;
            return Ok((lines, 0));
        };
        let failed = |source| Failure::file(path, source);
        let file = File::open(path).map_err(failed)?;
        let kind = file.metadata().map_err(failed)?;
        let file = BufReader::with_capacity(256 * 1024, file);
        if kind.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        match kind.is_file() {
            true => Ok((Lines::File(file, separator), kind.len())),
            false => Ok((read_on_thread(file, separator)?, 0)),
        }
    }

    async fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        match self {
            Lines::File(file, separator) => read_line(file, *separator),
            Lines::Thread(receiver) => receiver.recv().await,
        }
    }
}

fn read_on_thread(input: impl BufRead + Send + 'static, separator: u8) -> Result<Lines, Failure> {
    let (sender, receiver) = mailbox(LINES_AHEAD);
    let reader = std::thread::Builder::new().name("reader".to_owned());
    match reader.spawn(move || send_lines(input, separator, sender)) {
        Ok(_) => Ok(Lines::Thread(receiver)),
        Err(source) => Err(Failure::Stream {
            what: "starting the reader",
            source,
        }),
    }
}

fn send_lines(mut input: impl BufRead, separator: u8, mut sender: Sender<io::Result<Vec<u8>>>) {
    while let Some(line) = read_line(&mut input, separator) {
        let failed = line.is_err();
        if block_on(sender.send(line)).is_err() || failed {
            return;
        }
    }
}

fn read_line(input: &mut impl BufRead, separator: u8) -> Option<io::Result<Vec<u8>>> {
    let mut line = Vec::new();
    match input.read_until(separator, &mut line) {
        Ok(0) => None,
        Ok(_) => {
            if line.last() == Some(&separator) {
                line.pop();
            }
            Some(Ok(line))
        }
        Err(error) => Some(Err(error)),
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

    fn report(&self, topic: &str, output: &Output) -> Result<(), Failure> {
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
        if output.may_tell() {
            let places = self
                .partitions
                .iter()
                .map(|(partition, range)| match range {
                    (..=-1, _) => format!("partition {partition}"),
                    (first, last) => format!("partition {partition} offsets {first}-{last}"),
                });
            let places: Vec<String> = places.collect();
            output.note(&format!(
                "{} records to {topic}: {}",
                self.records,
                places.join(", ")
            ));
        }
        Ok(())
    }
}
