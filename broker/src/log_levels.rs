//! How much is logged: a level for each module, which can be changed while the process runs.
//!
//! Kafka's tools call these loggers. Here a logger is a module, named by its path; one without a
//! level of its own has that of the module around it, and in the end that of `root`. Levels are
//! not kept: a process starts with those of its environment.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::Context;
use tracing_subscriber::{Layer, Registry, reload};

/// The logger that all others go by.
pub const ROOT: &str = "root";

/// The modules of the daemon that log, in order. A test compares them with the sources.
pub const MODULES: &[&str] = &[
    "millstream_broker::controller::driver",
    "millstream_broker::controller::metadata_log",
    "millstream_broker::coordinator",
    "millstream_broker::coordinator::loading",
    "millstream_broker::disk_reserve",
    "millstream_broker::handlers",
    "millstream_broker::handlers::describe_log_dirs",
    "millstream_broker::handlers::fetch",
    "millstream_broker::handlers::loggers",
    "millstream_broker::metrics::server",
    "millstream_broker::node",
    "millstream_broker::shard::image_follower",
    "millstream_broker::shard::partition",
    "millstream_net::acceptor",
    "millstream_net::connection",
    "millstream_raft::node",
    "millstream_raft::trace_drain",
    "millstream_reactor::uring::ring",
    "millstream_storage::cleaner::cleaning",
    "millstream_storage::cleaner::schedule",
    "millstream_storage::cleaner::swap",
    "millstream_storage::closing",
    "millstream_storage::housekeeping",
    "millstream_storage::index_search",
    "millstream_storage::maintenance",
    "millstream_storage::recovery",
    "millstream_storage::retention",
    "millstream_storage::start_state",
    "millstream_storage::store",
    "millstream_storage::time_lookup",
    "millstream_storage::truncation",
    "millstream_storage::writer",
    "millstreamd",
    "millstreamd::service_manager",
];

/// The levels that were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    root: LevelFilter,
    given: BTreeMap<String, LevelFilter>,
}

impl Default for Levels {
    fn default() -> Levels {
        Levels {
            root: LevelFilter::INFO,
            given: BTreeMap::new(),
        }
    }
}

impl FromStr for Levels {
    type Err = ParseError;

    /// Reads `info,millstream_storage=debug`.
    fn from_str(text: &str) -> Result<Levels, ParseError> {
        let targets: Targets = text.parse()?;
        let given = targets
            .iter()
            .map(|(name, level)| (name.to_owned(), level))
            .collect();
        Ok(Levels {
            root: targets.default_level().unwrap_or(LevelFilter::OFF),
            given,
        })
    }
}

impl Levels {
    /// The level of a module.
    pub fn of(&self, module: &str) -> LevelFilter {
        let mut name = module;
        loop {
            if let Some(level) = self.given.get(name) {
                return *level;
            }
            match name.rfind("::") {
                Some(end) => name = &name[..end],
                None => return self.root,
            }
        }
    }

    /// Gives a logger a level, or takes its own away. `root` always has one.
    fn set(&mut self, logger: &str, level: Option<LevelFilter>) {
        match (logger, level) {
            (ROOT, level) => self.root = level.unwrap_or(LevelFilter::INFO),
            (logger, Some(level)) => {
                self.given.insert(logger.to_owned(), level);
            }
            (logger, None) => {
                self.given.remove(logger);
            }
        }
    }

    /// Every logger there is, with its level: the modules that log, those around them, and what
    /// was given a level.
    fn all(&self) -> BTreeMap<String, LevelFilter> {
        let mut all = BTreeMap::from([(ROOT.to_owned(), self.root)]);
        for module in MODULES.iter().copied() {
            let ends = module.match_indices("::").map(|(end, _)| end);
            for end in ends.chain([module.len()]) {
                let name = &module[..end];
                all.insert(name.to_owned(), self.of(name));
            }
        }
        all.extend(
            self.given
                .iter()
                .map(|(name, level)| (name.clone(), *level)),
        );
        all
    }
}

impl<S: Subscriber> Layer<S> for Levels {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if *metadata.level() <= self.of(metadata.target()) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.of(metadata.target())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.given.values().copied().chain([self.root]).max()
    }
}

/// The levels of the process, to be looked at and changed by any thread.
#[derive(Debug, Clone)]
pub struct LogLevels {
    handle: reload::Handle<Levels, Registry>,
    /// Keeps the levels where no subscriber does.
    _unconnected: Option<Arc<reload::Layer<Levels, Registry>>>,
}

impl LogLevels {
    /// The levels, and the layer that makes a subscriber go by them.
    pub fn new(levels: Levels) -> (reload::Layer<Levels, Registry>, LogLevels) {
        let (layer, handle) = reload::Layer::new(levels);
        let levels = LogLevels {
            handle,
            _unconnected: None,
        };
        (layer, levels)
    }

    /// Levels that nothing goes by, for a process that logs in its own way.
    pub fn unconnected() -> LogLevels {
        let (layer, levels) = LogLevels::new(Levels::default());
        LogLevels {
            _unconnected: Some(Arc::new(layer)),
            ..levels
        }
    }

    /// Every logger with its level.
    pub fn all(&self) -> BTreeMap<String, LevelFilter> {
        // The subscriber lives as long as the process, and nothing panics while it holds the lock.
        self.handle.with_current(Levels::all).unwrap_or_default()
    }

    /// Makes these changes together; `None` takes a logger's own level away.
    pub fn change(&self, changes: &[(String, Option<LevelFilter>)]) {
        let _ = self.handle.modify(|levels| {
            for (logger, level) in changes {
                levels.set(logger, *level);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_has_the_level_of_the_nearest_that_has_one() {
        let levels: Levels = "warn,a::b=debug,a=error".parse().expect("levels");
        for (module, level) in [
            ("a::b::c", LevelFilter::DEBUG),
            ("a::b", LevelFilter::DEBUG),
            ("a::bc", LevelFilter::ERROR),
            ("a", LevelFilter::ERROR),
            ("ab", LevelFilter::WARN),
        ] {
            assert_eq!(levels.of(module), level, "{module}");
        }
        assert_eq!(
            Layer::<Registry>::max_level_hint(&levels),
            Some(LevelFilter::DEBUG)
        );
        assert!("a=loud".parse::<Levels>().is_err());
    }

    #[test]
    fn levels_are_given_and_taken_away() {
        let levels = LogLevels::unconnected();
        let storage = "millstream_storage".to_owned();
        let writer = "millstream_storage::writer";
        assert_eq!(levels.all()[writer], LevelFilter::INFO);
        levels.change(&[(storage.clone(), Some(LevelFilter::TRACE))]);
        assert_eq!(levels.all()[writer], LevelFilter::TRACE);
        assert_eq!(levels.all()[ROOT], LevelFilter::INFO);
        levels.change(&[(storage, None), (ROOT.to_owned(), Some(LevelFilter::ERROR))]);
        assert_eq!(levels.all()[writer], LevelFilter::ERROR);
        assert!(MODULES.is_sorted());
    }
}
