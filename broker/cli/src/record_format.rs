//! How a consumed record is printed.

use millstream_client::ConsumerRecord;
use serde_json::{Map, Value, json};

use crate::base64;
use crate::timestamp::format_timestamp;

/// A `--format`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFormat {
    pieces: Vec<Piece>,
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
    Headers,
}

impl RecordFormat {
    /// Takes a format apart; says what is wrong with it otherwise.
    pub fn parse(format: &str) -> Result<RecordFormat, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            let escaped = match c {
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
                    continue;
                }
                '\\' => match chars.next() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some('0') => '\0',
                    Some('\\') => '\\',
                    _ => return Err("--format knows \\n, \\r, \\t, \\0 and \\\\".to_owned()),
                },
                c => c,
            };
            literal.extend_from_slice(escaped.encode_utf8(&mut [0; 4]).as_bytes());
        }
        pieces.push(Piece::Literal(literal));
        Ok(RecordFormat { pieces })
    }

    /// Appends a record in this format; keys and values byte for byte.
    pub fn write(&self, record: &ConsumerRecord, out: &mut Vec<u8>) {
        let length = |bytes: &Option<bytes::Bytes>| match bytes {
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
                    out.extend_from_slice(record.key.as_deref().unwrap_or_default());
                    continue;
                }
                Piece::Field(Field::Value) => {
                    out.extend_from_slice(record.value.as_deref().unwrap_or_default());
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
        's' => Field::Value,
        'S' => Field::ValueLength,
        'h' => Field::Headers,
        _ => return None,
    })
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
    use bytes::Bytes;

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
        let format = "%t[%p]@%o %T %D %k/%K %s/%S %h 100%%\\t\\n";
        let format = RecordFormat::parse(format).expect("it is a format");
        let mut out = Vec::new();
        format.write(&record(), &mut out);
        let expected = b"t[3]@42 1000 1970-01-01T00:00:01.000Z k/1 \xffv/2 a=1,b 100%\t\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn wrong_formats_are_refused() {
        for wrong in ["%x", "100%", "\\q", "\\"] {
            assert!(RecordFormat::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn json_has_base64_where_bytes_are_no_text() {
        let json = record_json(&record());
        assert_eq!(json["key"], "k");
        assert_eq!(json["value_base64"], "/3Y=");
        assert_eq!(json["headers"][1], json!({"name": "b", "value": null}));
    }
}
