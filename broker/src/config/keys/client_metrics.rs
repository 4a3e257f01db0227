//! Keys of subscriptions to clients' metrics (KIP-714). They are kept and told; nothing is pushed,
//! since clients are not offered the APIs for that.

use super::{Key, Kind, Status};

/// Why they do nothing.
const TEXT: &str = "clients are not asked for their metrics";

/// In order of their names.
// One line for each key: a table is read down its columns.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::new("interval.ms", Kind::INT, Some("300000"), Status::Accepted, TEXT),
    Key::new("match", Kind::List, Some(""), Status::Accepted, TEXT),
    Key::new("metrics", Kind::List, Some(""), Status::Accepted, TEXT),
];
