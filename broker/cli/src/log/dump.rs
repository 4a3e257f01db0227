//! `millstream log dump`: the batches of segment files, read without a broker.
//!
//! Files are read in a sliding window, so a segment of any size takes the memory of its largest
//! batch. What follows the last whole batch is said: nothing, zeros made ahead, or garbage.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use millstream_protocol::compression::Decompressor;
use millstream_protocol::record_batch::{BatchError, BatchHeader, BatchView, TimestampType};
use serde_json::{Map, Value, json};

use crate::arguments::LogDumpArguments;
use crate::failure::Failure;
use crate::output::Output;
use crate::record_format::insert_bytes;
use crate::timestamp::format_timestamp;

/// How much is read at once.
const WINDOW: usize = 1024 * 1024;
/// How much is printed at once.
const PRINTED_AT_ONCE: usize = 64 * 1024;
/// The largest batch that is believed: Kafka allows up to 2 GiB, nobody has them.
const MAX_BATCH_BYTES: usize = 512 * 1024 * 1024;

/// Prints the batches of the files and folders that are named.
pub fn dump(arguments: &LogDumpArguments, output: &Output) -> Result<(), Failure> {
    let mut damaged = 0;
    for path in segment_files(&arguments.paths)? {
        let mut dump = Dump {
            path: &path,
            records: arguments.records,
            output,
            out: Vec::new(),
            decompressor: Decompressor::new(),
            summary: Summary::default(),
        };
        dump.run()?;
        damaged += dump.summary.damaged;
    }
    match damaged {
        0 => Ok(()),
        1 => Err(Failure::Findings("a batch is damaged".to_owned())),
        _ => Err(Failure::Findings(format!("{damaged} batches are damaged"))),
    }
}

/// The `.log` files among `paths` and in their folders, in the order of offsets.
fn segment_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        let kind = fs::metadata(path).map_err(|source| Failure::file(path, source))?;
        if !kind.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(|source| Failure::file(path, source))? {
            let entry = entry.map_err(|source| Failure::file(path, source))?;
            let file = entry.path();
            if file.extension().is_some_and(|extension| extension == "log") {
                found.push(file);
            }
        }
        if found.is_empty() {
            return Err(Failure::Usage(format!(
                "{} has no .log files: name a partition's folder, such as DATA/topic-0",
                path.display()
            )));
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

#[derive(Default)]
struct Summary {
    batches: u64,
    records: u64,
    damaged: u64,
}

struct Dump<'a> {
    path: &'a Path,
    records: bool,
    output: &'a Output,
    /// What is printed once there is enough of it.
    out: Vec<u8>,
    decompressor: Decompressor,
    summary: Summary,
}

impl Dump<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        let file = File::open(self.path).map_err(|source| Failure::file(self.path, source))?;
        if !self.output.is_json() {
            let name = self.output.strong(&self.path.display().to_string());
            self.line(&name)?;
        }
        let mut window = Window::new(file);
        let tail = loop {
            let failed = |source| Failure::file(self.path, source);
            if !window.fill(BatchHeader::SIZE).map_err(failed)? {
                break self.tail(&mut window)?;
            }
            let header = match BatchHeader::parse(window.bytes()) {
                Ok(header) => header,
                Err(_) if window.is_zero().map_err(failed)? => break self.tail(&mut window)?,
                Err(error) => break self.garbage(&window, &error),
            };
            let size = header.size_in_bytes();
            if size > MAX_BATCH_BYTES {
                break self.garbage(&window, &BatchError::BadLength(header.batch_length));
            }
            if !window.fill(size).map_err(failed)? {
                let available = window.bytes().len();
                let needed = size;
                break self.garbage(&window, &BatchError::Incomplete { needed, available });
            }
            let batch = BatchView::parse(window.bytes()).map_err(|error| Failure::File {
                path: self.path.to_owned(),
                source: io::Error::other(error),
            })?;
            self.batch(&batch, window.position)?;
            window.consume(size);
        };
        self.end(&tail)
    }

    fn batch(&mut self, batch: &BatchView<'_>, position: u64) -> Result<(), Failure> {
        let header = batch.header();
        let crc = batch.check_crc();
        self.summary.batches += 1;
        self.summary.records += u64::try_from(header.records_count).unwrap_or(0);
        let mut problem = crc.err().map(|error| error.to_string());
        let mut records = Vec::new();
        if self.records && problem.is_none() {
            match read_records(batch, &mut self.decompressor, self.output.is_json()) {
                Ok(read) => records = read,
                Err(error) => problem = Some(error),
            }
        }
        if problem.is_some() {
            self.summary.damaged += 1;
        }
        if self.output.is_json() {
            let mut json = batch_json(header, position);
            json.insert("file".to_owned(), json!(self.path.display().to_string()));
            json.insert("problem".to_owned(), json!(problem));
            if self.records {
                let records = records.into_iter().map(|record| match record {
                    Printed::Json(json) => json,
                    Printed::Text(text) => json!(text),
                });
                json.insert("records".to_owned(), records.collect());
            }
            return self.line(&Value::Object(json).to_string());
        }
        let mut text = batch_text(header, position);
        if let Some(problem) = problem {
            text.push_str(&format!("  {}", self.output.wrong(&problem)));
        }
        self.line(&text)?;
        for record in records {
            match record {
                Printed::Text(text) => self.line(&text)?,
                Printed::Json(json) => self.line(&json.to_string())?,
            }
        }
        Ok(())
    }

    /// What follows the last batch, when it is shorter than a header or all zeros.
    fn tail(&mut self, window: &mut Window) -> Result<String, Failure> {
        let zero = window
            .is_zero()
            .map_err(|source| Failure::file(self.path, source))?;
        let rest = window.bytes().len() as u64 + window.skipped;
        if zero {
            return Ok(match rest {
                0 => String::new(),
                rest => format!(", then {rest} bytes of zeros made ahead"),
            });
        }
        self.summary.damaged += 1;
        let position = window.position;
        let text = format!(", then {rest} bytes at {position} that are no batch");
        Ok(self.output.wrong(&text))
    }

    fn garbage(&mut self, window: &Window, error: &BatchError) -> String {
        self.summary.damaged += 1;
        let text = format!(", then no batch at {}: {error}", window.position);
        self.output.wrong(&text)
    }

    fn end(&mut self, tail: &str) -> Result<(), Failure> {
        let Summary {
            batches, records, ..
        } = self.summary;
        if self.output.is_json() {
            if self.summary.damaged > 0 && !tail.is_empty() {
                let file = self.path.display().to_string();
                let problem = tail.trim_start_matches(", then ");
                self.line(&json!({"file": file, "problem": problem}).to_string())?;
            }
        } else {
            self.line(&format!("{batches} batches, {records} records{tail}"))?;
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.output.write(&std::mem::take(&mut self.out))
    }

    fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'\n');
        match self.out.len() < PRINTED_AT_ONCE {
            true => Ok(()),
            false => self.flush(),
        }
    }
}

/// A record, ready to be printed.
enum Printed {
    Text(String),
    Json(Value),
}

fn read_records(
    batch: &BatchView<'_>,
    decompressor: &mut Decompressor,
    as_json: bool,
) -> Result<Vec<Printed>, String> {
    let records = batch
        .records(decompressor, MAX_BATCH_BYTES)
        .map_err(|error| error.to_string())?;
    let mut printed = Vec::new();
    for record in records {
        let record = record.map_err(|error| error.to_string())?;
        if as_json {
            let mut json = Map::new();
            json.insert("offset".to_owned(), json!(record.offset.0));
            json.insert("timestamp".to_owned(), json!(record.timestamp));
            insert_bytes(&mut json, "key", record.key);
            insert_bytes(&mut json, "value", record.value);
            let headers = record.headers.iter().map(|header| {
                let mut json = Map::new();
                let name = String::from_utf8_lossy(header.key).into_owned();
                json.insert("name".to_owned(), json!(name));
                insert_bytes(&mut json, "value", header.value);
                Value::Object(json)
            });
            json.insert("headers".to_owned(), headers.collect());
            printed.push(Printed::Json(Value::Object(json)));
            continue;
        }
        let mut text = format!(
            "    {}  {}  {} = {}",
            record.offset,
            format_timestamp(record.timestamp),
            shown(record.key),
            shown(record.value),
        );
        for header in record.headers.iter() {
            let name = String::from_utf8_lossy(header.key);
            text.push_str(&format!(
                "  {}:{}",
                name.escape_debug(),
                shown(header.value)
            ));
        }
        printed.push(Printed::Text(text));
    }
    Ok(printed)
}

/// Bytes as text that fits one line.
fn shown(bytes: Option<&[u8]>) -> String {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => "null".to_owned(),
        Some((_, Ok(text))) => format!("{text:?}"),
        Some((bytes, Err(_))) => format!("b\"{}\"", bytes.escape_ascii()),
    }
}

fn batch_text(header: &BatchHeader, position: u64) -> String {
    let codec = header
        .attributes
        .codec()
        .map_or("codec?", |codec| codec.name());
    let mut text = format!(
        "  {}-{}  {} records  {} bytes at {position}  {codec}  epoch {}  {}",
        header.base_offset,
        header.last_offset(),
        header.records_count,
        header.size_in_bytes(),
        header.partition_leader_epoch,
        format_timestamp(header.max_timestamp),
    );
    if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
        text.push_str(" (append time)");
    }
    if header.has_producer_id() {
        text.push_str(&format!(
            "  producer {} epoch {} sequence {}-{}",
            header.producer_id,
            header.producer_epoch,
            header.base_sequence,
            header.last_sequence(),
        ));
    }
    if header.attributes.is_transactional() {
        text.push_str("  transactional");
    }
    if header.attributes.is_control() {
        text.push_str("  control");
    }
    text
}

fn batch_json(header: &BatchHeader, position: u64) -> Map<String, Value> {
    let json = json!({
        "position": position,
        "size": header.size_in_bytes(),
        "base_offset": header.base_offset.0,
        "last_offset": header.last_offset().0,
        "records_count": header.records_count,
        "codec": header.attributes.codec().map_or("unknown", |codec| codec.name()),
        "leader_epoch": header.partition_leader_epoch.0,
        "base_timestamp": header.base_timestamp,
        "max_timestamp": header.max_timestamp,
        "log_append_time":
            header.attributes.timestamp_type() == TimestampType::LogAppendTime,
        "producer_id": header.producer_id.0,
        "producer_epoch": header.producer_epoch,
        "base_sequence": header.base_sequence,
        "transactional": header.attributes.is_transactional(),
        "control": header.attributes.is_control(),
        "crc": header.crc,
    });
    match json {
        Value::Object(map) => map,
        _ => unreachable!("it is written as an object"),
    }
}

/// A part of a file that moves on as batches are taken from its front.
struct Window {
    file: File,
    buffer: Vec<u8>,
    start: usize,
    /// Where the front lies in the file.
    position: u64,
    /// Zeros that were read and let go beyond the buffer.
    skipped: u64,
}

impl Window {
    fn new(file: File) -> Window {
        Window {
            file,
            buffer: Vec::new(),
            start: 0,
            position: 0,
            skipped: 0,
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn consume(&mut self, size: usize) {
        self.start += size;
        self.position += size as u64;
    }

    /// Reads until `size` bytes are there; `false` when the file ends first.
    fn fill(&mut self, size: usize) -> io::Result<bool> {
        if self.bytes().len() >= size {
            return Ok(true);
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let wanted = size.max(WINDOW) - self.buffer.len();
        Read::by_ref(&mut self.file)
            .take(wanted as u64)
            .read_to_end(&mut self.buffer)?;
        Ok(self.buffer.len() >= size)
    }

    /// Whether all that follows is zeros. Reads to the end of the file if so.
    fn is_zero(&mut self) -> io::Result<bool> {
        if self.bytes().iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        let mut chunk = vec![0; WINDOW];
        loop {
            let read = self.file.read(&mut chunk)?;
            if read == 0 {
                return Ok(true);
            }
            self.skipped += read as u64;
            if chunk[..read].iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
    }
}
