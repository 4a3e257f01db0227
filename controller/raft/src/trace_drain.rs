//! The `raft` crate's log lines, as tracing events.

use std::fmt;

use slog::{Drain, KV, Key, Level, Logger, Never, OwnedKVList, Record, Serializer};

/// A logger that writes to tracing.
pub(crate) fn logger() -> Logger {
    Logger::root(TraceDrain, slog::o!())
}

struct TraceDrain;

impl Drain for TraceDrain {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        // What Raft calls information is detail to whoever runs a broker.
        match record.level() {
            Level::Critical | Level::Error => tracing::error!("{}", text(record, values)),
            Level::Warning => tracing::warn!("{}", text(record, values)),
            Level::Info => tracing::debug!("{}", text(record, values)),
            Level::Debug | Level::Trace => tracing::trace!("{}", text(record, values)),
        }
        Ok(())
    }
}

fn text(record: &Record<'_>, values: &OwnedKVList) -> String {
    let mut fields = Fields(record.msg().to_string());
    // A field that cannot be formatted is left out; the line is still worth having.
    let _ = record.kv().serialize(record, &mut fields);
    let _ = values.serialize(record, &mut fields);
    fields.0
}

struct Fields(String);

impl Serializer for Fields {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        use fmt::Write;
        write!(self.0, " {key}={value}")?;
        Ok(())
    }
}
