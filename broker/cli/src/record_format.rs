//! How a consumed record is printed: kcat's formats, or JSON.

use bytes::Bytes;
use millstream_client::{ConsumerRecord, ProducerRecord};
use serde_json::{Map, Value, json};

use crate::base64;
use crate::timestamp::format_timestamp;

/// A `--format`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFormat {
    pieces: Vec<Piece>,
    /// What stands for a key or a value that is null.
    null: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Field(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Date,
    Key,
    KeyLength,
    Value,
    ValueLength,
    BinaryValueLength,
    Headers,
}

impl RecordFormat {
    /// Takes a format apart; says what is wrong with it otherwise. A key or a value that is null is
    /// printed as `null`.
    pub fn parse(format: &str, null: &str) -> Result<RecordFormat, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => {
                    let field = match chars.next() {
                        Some('%') => {
                            literal.push(b'%');
                            continue;
                        }
                        Some(name) => field(name)
                            .ok_or_else(|| format!("--format knows no %{name}: see --help"))?,
                        None => return Err("--format ends with a single %: write %%".to_owned()),
                    };
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    pieces.push(Piece::Field(field));
                }
                '\\' => literal.push(escaped(&mut chars)?),
                c => literal.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        pieces.push(Piece::Literal(literal));
        Ok(RecordFormat {
            pieces,
            null: null.as_bytes().to_vec(),
        })
    }

    /// Appends a record in this format; keys and values byte for byte.
    pub fn write(&self, record: &ConsumerRecord, out: &mut Vec<u8>) {
        let length = |bytes: &Option<Bytes>| match bytes {
            Some(bytes) => bytes.len().to_string(),
            None => "-1".to_owned(),
        };
        for piece in &self.pieces {
            let text = match piece {
                Piece::Literal(bytes) => {
                    out.extend_from_slice(bytes);
                    continue;
                }
                Piece::Field(Field::Key) => {
                    out.extend_from_slice(record.key.as_deref().unwrap_or(&self.null));
                    continue;
                }
                Piece::Field(Field::Value) => {
                    out.extend_from_slice(record.value.as_deref().unwrap_or(&self.null));
                    continue;
                }
                Piece::Field(Field::BinaryValueLength) => {
                    let length = record.value.as_ref().map(|value| value.len());
                    // A record has less than 2 GiB; −1 stands for null, as with kcat.
                    let length = length.map_or(-1, |length| i32::try_from(length).unwrap_or(-1));
                    out.extend_from_slice(&length.to_be_bytes());
                    continue;
                }
                Piece::Field(Field::Headers) => {
                    write_headers(record, out);
                    continue;
                }
                Piece::Field(Field::Topic) => record.topic.to_string(),
                Piece::Field(Field::Partition) => record.partition.to_string(),
                Piece::Field(Field::Offset) => record.offset.to_string(),
                Piece::Field(Field::Timestamp) => record.timestamp.to_string(),
                Piece::Field(Field::Date) => format_timestamp(record.timestamp),
                Piece::Field(Field::KeyLength) => length(&record.key),
                Piece::Field(Field::ValueLength) => length(&record.value),
            };
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// A record as JSON. Bytes that are not UTF-8 are in base64, under the name with `_base64` behind.
pub fn record_json(record: &ConsumerRecord) -> Value {
    let mut object = Map::new();
    object.insert("topic".to_owned(), json!(&*record.topic));
    object.insert("partition".to_owned(), json!(record.partition));
    object.insert("offset".to_owned(), json!(record.offset));
    object.insert("timestamp".to_owned(), json!(record.timestamp));
    insert_bytes(&mut object, "key", record.key.as_deref());
    insert_bytes(&mut object, "value", record.value.as_deref());
    let headers = record.headers.iter().map(|(name, value)| {
        let mut header = Map::new();
        header.insert("name".to_owned(), json!(name));
        insert_bytes(&mut header, "value", value.as_deref());
        Value::Object(header)
    });
    object.insert("headers".to_owned(), headers.collect());
    Value::Object(object)
}

/// A record from the JSON that [`record_json`] makes. Its topic and its offset are left out, and
/// everything but the value may be missing.
pub fn record_from_json(line: &[u8]) -> Result<ProducerRecord, String> {
    let object: Map<String, Value> =
        serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if !object.contains_key("value") && !object.contains_key("value_base64") {
        return Err("it has neither value nor value_base64".to_owned());
    }
    let number = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_i64()
            .map(Some)
            .ok_or_else(|| format!("{name} is no number")),
    };
    let partition = match number("partition")? {
        None => None,
        Some(partition) => {
            Some(i32::try_from(partition).map_err(|_| "partition is too large".to_owned())?)
        }
    };
    let mut headers = Vec::new();
    match object.get("headers") {
        None | Some(Value::Null) => {}
        Some(Value::Array(listed)) => {
            for header in listed {
                let header = header.as_object().ok_or("a header is no object")?;
                let name = header.get("name").and_then(Value::as_str);
                let name = name.ok_or("a header has no name")?.to_owned();
                headers.push((name, take_bytes(header, "value")?));
            }
        }
        Some(_) => return Err("headers is no list".to_owned()),
    }
    Ok(ProducerRecord {
        topic: "".into(),
        partition,
        key: take_bytes(&object, "key")?,
        value: take_bytes(&object, "value")?,
        headers,
        timestamp: number("timestamp")?,
    })
}

/// Bytes that [`insert_bytes`] has put into an object. A value that is no text is taken as the
/// JSON that it is.
fn take_bytes(object: &Map<String, Value>, name: &str) -> Result<Option<Bytes>, String> {
    let encoded = format!("{name}_base64");
    match (object.get(&encoded), object.get(name)) {
        (Some(Value::String(text)), _) => base64::decode(text)
            .map(|bytes| Some(bytes.into()))
            .ok_or_else(|| format!("{encoded} is no base64")),
        (Some(_), _) => Err(format!("{encoded} is no text")),
        (None, None | Some(Value::Null)) => Ok(None),
        (None, Some(Value::String(text))) => Ok(Some(text.clone().into())),
        (None, Some(value)) => Ok(Some(value.to_string().into())),
    }
}

/// Adds bytes to an object: as text, as base64 under another name, or as null.
pub fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    let (name, value) = match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => (name.to_owned(), Value::Null),
        Some((_, Ok(text))) => (name.to_owned(), json!(text)),
        Some((bytes, Err(_))) => (format!("{name}_base64"), json!(base64::encode(bytes))),
    };
    object.insert(name, value);
}

fn field(name: char) -> Option<Field> {
    Some(match name {
        't' => Field::Topic,
        'p' => Field::Partition,
        'o' => Field::Offset,
        'T' => Field::Timestamp,
        'D' => Field::Date,
        'k' => Field::Key,
        'K' => Field::KeyLength,
        's' | 'v' => Field::Value,
        'S' => Field::ValueLength,
        'R' => Field::BinaryValueLength,
        'h' => Field::Headers,
        _ => return None,
    })
}

/// The byte that an escape sequence stands for, its backslash taken already.
fn escaped(chars: &mut std::str::Chars<'_>) -> Result<u8, String> {
    match chars.next() {
        Some('n') => Ok(b'\n'),
        Some('r') => Ok(b'\r'),
        Some('t') => Ok(b'\t'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('x') => {
            let digit = |c: Option<char>| c.and_then(|c| c.to_digit(16));
            let byte = digit(chars.next()).zip(digit(chars.next()));
            let byte = byte.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
            byte.ok_or_else(|| "--format takes \\x with two digits, such as \\x1f".to_owned())
        }
        _ => Err("--format knows \\n, \\r, \\t, \\0, \\x1f and \\\\".to_owned()),
    }
}

fn write_headers(record: &ConsumerRecord, out: &mut Vec<u8>) {
    for (index, (name, value)) in record.headers.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        if let Some(value) = value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ConsumerRecord {
        ConsumerRecord {
            topic: "t".into(),
            partition: 3,
            offset: 42,
            timestamp: 1000,
            leader_epoch: 0,
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::from_static(b"\xffv")),
            headers: vec![
                ("a".to_owned(), Some(Bytes::from_static(b"1"))),
                ("b".to_owned(), None),
            ],
        }
    }

    #[test]
    fn every_field_is_written() {
        let format = "%t[%p]@%o %T %D %k/%K %s/%S %v%R %h 100%%\\t\\x41\\n";
        let format = RecordFormat::parse(format, "").expect("it is a format");
        let mut out = Vec::new();
        format.write(&record(), &mut out);
        let expected =
            b"t[3]@42 1000 1970-01-01T00:00:01.000Z k/1 \xffv/2 \xffv\0\0\0\x02 a=1,b 100%\tA\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn wrong_formats_are_refused() {
        for wrong in ["%x", "100%", "\\q", "\\", "\\x4", "\\xgg"] {
            assert!(RecordFormat::parse(wrong, "").is_err(), "{wrong}");
        }
    }

    #[test]
    fn null_is_not_the_empty_text() {
        let format = RecordFormat::parse("%k=%v %K %S", "NULL").expect("it is a format");
        let mut out = Vec::new();
        let record = ConsumerRecord {
            key: Some(Bytes::new()),
            value: None,
            ..record()
        };
        format.write(&record, &mut out);
        assert_eq!(out, b"=NULL 0 -1");
    }

    #[test]
    fn json_has_base64_where_bytes_are_no_text() {
        let json = record_json(&record());
        assert_eq!(json["key"], "k");
        assert_eq!(json["value_base64"], "/3Y=");
        assert_eq!(json["headers"][1], json!({"name": "b", "value": null}));
    }

    #[test]
    fn what_is_printed_as_json_can_be_produced() {
        let printed = record_json(&record()).to_string();
        let read = record_from_json(printed.as_bytes()).expect("it is a record");
        let record = record();
        assert_eq!((read.key, read.value), (record.key, record.value));
        assert_eq!(read.headers, record.headers);
        assert_eq!((read.partition, read.timestamp), (Some(3), Some(1000)));
        let read = record_from_json(br#"{"value": {"a": 1}}"#).expect("it is a record");
        assert_eq!(read.value.as_deref(), Some(&br#"{"a":1}"#[..]));
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"value": "v", "partition": "x"}"#,
            r#"{"value": "v", "headers": [{"value": "h"}]}"#,
            r#"{"value_base64": "?"}"#,
        ] {
            assert!(record_from_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
