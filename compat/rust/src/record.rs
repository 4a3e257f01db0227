//! Records as they travel to and from the driver, and as rskafka has them.
//!
//! rskafka keeps headers in a map: one of each name, sorted, none without a value.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use rskafka::record::{Record, RecordAndOffset};
use serde_json::{Value, json};

/// Reads a record of a `produce` command.
pub fn from_json(fields: &Value) -> Result<Record, String> {
    let timestamp = match fields["t"].as_i64() {
        Some(t) => DateTime::<Utc>::from_timestamp_millis(t).ok_or("a time out of bounds")?,
        None => Utc::now(),
    };
    let mut headers = BTreeMap::new();
    for header in fields["h"].as_array().ok_or("headers are a list")? {
        let name = header[0].as_str().ok_or("a header has a name")?.to_owned();
        headers.insert(name, bytes(&header[1])?.ok_or("a header has a value")?);
    }
    Ok(Record {
        key: bytes(&fields["k"])?,
        value: bytes(&fields["v"])?,
        headers,
        timestamp,
    })
}

/// Writes a record that was read.
pub fn to_json(topic: &str, partition: i32, taken: &RecordAndOffset) -> Value {
    let headers: Vec<Value> = taken
        .record
        .headers
        .iter()
        .map(|(name, value)| json!([name, BASE64_STANDARD.encode(value)]))
        .collect();
    json!({
        "topic": topic,
        "p": partition,
        "o": taken.offset,
        "t": taken.record.timestamp.timestamp_millis(),
        "k": taken.record.key.as_ref().map(|key| BASE64_STANDARD.encode(key)),
        "v": taken.record.value.as_ref().map(|value| BASE64_STANDARD.encode(value)),
        "h": headers,
    })
}

fn bytes(text: &Value) -> Result<Option<Vec<u8>>, String> {
    match text {
        Value::Null => Ok(None),
        Value::String(text) => BASE64_STANDARD
            .decode(text)
            .map(Some)
            .map_err(|error| error.to_string()),
        other => Err(format!("bytes are base64 or null: {other}")),
    }
}
