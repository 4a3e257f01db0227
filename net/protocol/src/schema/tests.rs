//! Messages made from the shapes, against the generated decoders and against damage.

use bytes::Bytes;
use proptest::prelude::*;

use super::{Field, INT32, Message, Type, WalkError, field, walk};
use crate::any_message::{describe_request, describe_response};
use crate::api::APIS;
use crate::cursor::put_unsigned_varint;

/// Writes a message of the shape, its values and lengths drawn from a seed.
struct Writer {
    bytes: Vec<u8>,
    state: u64,
    version: i16,
    flexible: bool,
}

impl Writer {
    fn write(message: &Message, version: i16, seed: u64) -> Vec<u8> {
        let flexible = message.is_flexible(version);
        let mut writer = Writer {
            bytes: Vec::new(),
            state: seed | 1,
            version,
            flexible,
        };
        writer.fields(message.fields);
        writer.bytes
    }

    /// The generator of Steele and Vigna.
    fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn fields(&mut self, fields: &'static [Field]) {
        for field in fields.iter().filter(|field| field.tag.is_none()) {
            if field.is_in(self.version) {
                self.value(&field.ty);
            }
        }
        if !self.flexible {
            return;
        }
        let known: Vec<&Field> = fields
            .iter()
            .filter(|f| f.tag.is_some() && f.is_in(self.version))
            .collect();
        let unknown = self.below(2) as u32;
        put_unsigned_varint(&mut self.bytes, known.len() as u32 + unknown);
        for field in known {
            put_unsigned_varint(
                &mut self.bytes,
                field.tag.expect("it was filtered by its tag"),
            );
            let outer = std::mem::take(&mut self.bytes);
            self.value(&field.ty);
            let value = std::mem::replace(&mut self.bytes, outer);
            put_unsigned_varint(&mut self.bytes, value.len() as u32);
            self.bytes.extend(value);
        }
        for _ in 0..unknown {
            let size = self.below(4);
            put_unsigned_varint(&mut self.bytes, 1000);
            put_unsigned_varint(&mut self.bytes, size as u32);
            self.noise(size);
        }
    }

    fn value(&mut self, ty: &'static Type) {
        match ty {
            Type::Fixed(size) => self.noise(*size as u64),
            Type::String => {
                let length = self.below(12);
                self.length(length, 2);
                for _ in 0..length {
                    let letter = b'a' + self.below(26) as u8;
                    self.bytes.push(letter);
                }
            }
            Type::Bytes => {
                let length = self.below(40);
                self.length(length, 4);
                self.noise(length);
            }
            Type::Array(element) => {
                let count = self.below(4);
                self.length(count, 4);
                for _ in 0..count {
                    self.value(element);
                }
            }
            Type::Struct(fields) => self.fields(fields),
            Type::Nullable(fields) => match self.below(2) {
                0 => self.bytes.push(0xff),
                _ => {
                    self.bytes.push(1);
                    self.fields(fields);
                }
            },
        }
    }

    fn length(&mut self, length: u64, fixed_size: usize) {
        match self.flexible {
            true => put_unsigned_varint(&mut self.bytes, length as u32 + 1),
            false => self.bytes.extend(&length.to_be_bytes()[8 - fixed_size..]),
        }
    }

    fn noise(&mut self, count: u64) {
        for _ in 0..count {
            let byte = self.below(256) as u8;
            self.bytes.push(byte);
        }
    }
}

/// Puts a header without tagged values before a response's body.
fn with_header(flexible: bool, body: &[u8]) -> Bytes {
    let mut frame = vec![0; if flexible { 5 } else { 4 }];
    frame.extend(body);
    frame.into()
}

#[test]
fn the_generated_decoders_read_what_the_shapes_describe() {
    for api in APIS {
        for version in api.min_version..=api.max_version {
            for seed in 0..40 {
                let body = Writer::write(api.request, version, seed);
                assert_eq!(walk(api.request, version, &body), Ok(body.len()));
                let decoded = describe_request(api, version, body.into());
                let name = format!("{:?}Request {{", api.key);
                assert!(
                    decoded.as_ref().is_ok_and(|text| text.contains(&name)),
                    "{name} version {version}: {decoded:?}",
                );

                let body = Writer::write(api.response, version, seed);
                assert_eq!(walk(api.response, version, &body), Ok(body.len()));
                let frame = with_header(api.response_header_is_flexible(version), &body);
                let decoded = describe_response(api, version, frame);
                let name = format!("{:?}Response {{", api.key);
                assert!(
                    decoded.as_ref().is_ok_and(|text| text.contains(&name)),
                    "{name} version {version}: {decoded:?}",
                );
            }
        }
    }
}

#[test]
fn a_message_cut_anywhere_is_refused() {
    for api in APIS {
        for version in api.min_version..=api.max_version {
            let body = Bytes::from(Writer::write(api.request, version, 3));
            for end in 0..body.len() {
                let cut = body.slice(..end);
                assert!(
                    walk(api.request, version, &cut).is_err(),
                    "{:?} {version}",
                    api.key
                );
                assert!(describe_request(api, version, cut).is_err());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_messages_are_decoded_or_refused(
        api in 0..APIS.len(),
        version: proptest::sample::Index,
        seed: u64,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let api = &APIS[api];
        let versions: Vec<i16> = (api.min_version..=api.max_version).collect();
        let version = *version.get(&versions);
        for message in [api.request, api.response] {
            let mut bytes = Writer::write(message, version, seed);
            for (at, value) in &damage {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *value;
                }
            }
            let _ = describe_request(api, version, bytes.clone().into());
            let frame = with_header(api.response_header_is_flexible(version), &bytes);
            let _ = describe_response(api, version, frame);
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(
        api in 0..APIS.len(),
        version: proptest::sample::Index,
        bytes: Vec<u8>,
    ) {
        let api = &APIS[api];
        let versions: Vec<i16> = (api.min_version..=api.max_version).collect();
        let version = *version.get(&versions);
        let _ = describe_request(api, version, bytes.clone().into());
        let _ = describe_response(api, version, bytes.into());
    }
}

/// The version that has compact lengths, and the one before.
const FLEXIBLE: i16 = 1;
const TEXT: Message = Message::new(FLEXIBLE, &[field("f", Type::String)]);
const BYTES: Message = Message::new(FLEXIBLE, &[field("f", Type::Bytes)]);
const NUMBERS: Message = Message::new(FLEXIBLE, &[field("f", Type::Array(&INT32))]);
const TEXTS: Message = Message::new(FLEXIBLE, &[field("f", Type::Array(&Type::String))]);

/// A length of two or four bytes, or a compact one.
fn length_bytes(version: i16, length: i64, fixed_size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    match version {
        FLEXIBLE.. => put_unsigned_varint(&mut bytes, (length + 1) as u32),
        _ => bytes.extend(&length.to_be_bytes()[8 - fixed_size..]),
    }
    bytes
}

proptest! {
    #[test]
    fn a_length_fits_the_bytes_that_are_there(
        length in prop_oneof![-2..40_i64, any::<i16>().prop_map(i64::from)],
        remaining in 0..40_usize,
        version in 0..=FLEXIBLE,
    ) {
        // Null is as good as nothing; a compact length cannot be less.
        let length = if version == FLEXIBLE { length.max(-1) } else { length };
        let wanted = if length == -1 { 0 } else { length };
        let refused = |needed: i64| {
            let fits = (0..=remaining as i64).contains(&needed);
            let (field, length) = ("f", needed);
            (!fits).then_some(WalkError::BadLength { field, length, remaining })
        };
        // An element takes a byte at least, a number four.
        for (message, fixed_size, expected) in [
            (&TEXT, 2, refused(wanted)),
            (&BYTES, 4, refused(wanted)),
            (&TEXTS, 4, refused(wanted)),
            (&NUMBERS, 4, refused(4 * wanted)),
        ] {
            let mut bytes = length_bytes(version, length, fixed_size);
            // What follows are empty texts, or no tagged field.
            bytes.resize(bytes.len() + remaining, 0);
            let walked = walk(message, version, &bytes);
            match expected {
                Some(error) => prop_assert_eq!(walked, Err(error)),
                None => {
                    let is_refused = matches!(walked, Err(WalkError::BadLength { .. }));
                    prop_assert!(!is_refused, "{walked:?}");
                }
            }
        }
    }
}

/// Texts without a letter, or tagged fields without a value: each has two bytes, after four.
fn small_elements(count: usize) -> [(&'static Message, i16, Vec<u8>); 2] {
    let texts = [length_bytes(0, count as i64, 4), vec![0; 2 * count]].concat();
    let mut tagged = vec![1];
    put_unsigned_varint(&mut tagged, count as u32);
    tagged.extend([9, 0].repeat(count));
    [(&TEXTS, 0, texts), (&TEXT, FLEXIBLE, tagged)]
}

#[test]
fn a_message_has_no_more_small_elements_than_its_length_allows() {
    let max = |items: usize| (32 << 10) + (4 + 2 * items) / 16;
    let most = (1..)
        .find(|items| items + 1 > max(items + 1))
        .expect("an element adds less than it takes");
    for (message, version, bytes) in small_elements(most) {
        assert_eq!(bytes.len(), 4 + 2 * most);
        assert_eq!(walk(message, version, &bytes), Ok(bytes.len()));
    }
    for (message, version, bytes) in small_elements(most + 1) {
        let refused = WalkError::TooManyItems {
            field: if version == 0 { "f" } else { "message" },
            max: max(most + 1),
        };
        assert_eq!(walk(message, version, &bytes), Err(refused));
    }
}
