//! Who has its turn when, and how long that takes.
//!
//! In a round each case is put to its brokers one after another, and who is first in one round is
//! last in the next: A B, then B A. A machine whose speed drifts, as a shared one's does within
//! minutes, so treats them alike.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::error::CompareError;
use super::suite::{Case, Contender, Kind, Suite};

/// What a load without `--seconds` takes, about.
const UNKNOWN_LOAD: f64 = 10.0;
/// More than any load takes, in seconds: a day.
const LONGEST_LOAD: f64 = 86_400.0;
/// What comes with each load: connecting, making and removing the topic.
const AROUND_A_LOAD: f64 = 1.5;
/// Starting and stopping a broker.
const MILLSTREAM_START: f64 = 2.0;
const KAFKA_START: f64 = 10.0;

/// One of `--broker`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The suite's brokers of that kind, with settings of its own beside theirs.
    Kind(Kind, Vec<String>),
    /// One that runs.
    Running {
        /// Its name.
        name: String,
        /// Where.
        address: String,
    },
}

impl Wanted {
    /// Parses `millstream[:KEY=VALUE,…]`, `kafka[:KEY=VALUE,…]` or `NAME=HOST:PORT`.
    ///
    /// # Errors
    /// It is none of them.
    pub fn parse(text: &str) -> Result<Wanted, CompareError> {
        let wrong = || CompareError::Broker(text.to_owned());
        let (name, settings) = match text.split_once(':') {
            Some((name, settings)) => (name, settings),
            None => (text, ""),
        };
        let kind = match name {
            "millstream" => Some(Kind::Millstream),
            "kafka" => Some(Kind::Kafka),
            _ => None,
        };
        if let Some(kind) = kind {
            let settings = settings.split(',').filter(|setting| !setting.is_empty());
            let settings: Vec<String> = settings.map(str::to_owned).collect();
            let sound = settings.iter().all(|setting| setting.contains('='));
            return if sound {
                Ok(Wanted::Kind(kind, settings))
            } else {
                Err(wrong())
            };
        }
        let (name, address) = text.split_once('=').ok_or_else(wrong)?;
        let simple = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || !name.chars().all(simple) || !address.contains(':') {
            return Err(wrong());
        }
        Ok(Wanted::Running {
            name: name.to_owned(),
            address: address.to_owned(),
        })
    }
}

/// Puts the wanted brokers into the place of the suite's; all of the suite's when none is named.
///
/// A broker with settings of its own has a name of its own, `fsync+shards=2`, so that bars, which
/// are about the suite's settings, do not speak of it.
///
/// # Errors
/// The suite has nothing for them.
pub fn choose_brokers(suite: &mut Suite, wanted: &[Wanted]) -> Result<(), CompareError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let earlier = std::mem::take(&mut suite.brokers);
    let mut successors: HashMap<String, Vec<String>> = HashMap::new();
    let mut everywhere = Vec::new();
    for each in wanted {
        match each {
            Wanted::Kind(kind, settings) => {
                for broker in earlier.iter().filter(|broker| broker.kind == *kind) {
                    let with = with_settings(broker, settings);
                    let names = successors.entry(broker.id.clone()).or_default();
                    if !names.contains(&with.id) {
                        names.push(with.id.clone());
                        suite.brokers.push(with);
                    }
                }
            }
            Wanted::Running { name, address } => {
                everywhere.push(name.clone());
                suite.brokers.push(running(name, address));
            }
        }
    }
    for row in &mut suite.rows {
        for case in &mut row.cases {
            let ours = case
                .brokers
                .iter()
                .filter_map(|id| successors.get(id))
                .flatten();
            let mut brokers: Vec<String> = ours.cloned().collect();
            brokers.extend(everywhere.iter().cloned());
            case.brokers = brokers;
        }
    }
    let named: Vec<&String> = suite
        .rows
        .iter()
        .flat_map(|row| &row.cases)
        .flat_map(|case| &case.brokers)
        .collect();
    if named.is_empty() {
        return Err(CompareError::NothingToDo);
    }
    Ok(())
}

fn with_settings(broker: &Contender, settings: &[String]) -> Contender {
    let mut broker = broker.clone();
    if !settings.is_empty() {
        let text = settings.join(",");
        broker.id = format!("{}+{text}", broker.id);
        broker.label = format!("{}, {text}", broker.label);
        broker.set.extend(settings.iter().cloned());
        if settings
            .iter()
            .any(|setting| setting.starts_with("durability="))
        {
            broker.flush = format!("as told: {text}");
        }
    }
    broker
}

fn running(name: &str, address: &str) -> Contender {
    Contender {
        id: name.to_owned(),
        label: format!("{name} ({address})"),
        kind: Kind::Running,
        flush: "not known".to_owned(),
        set: Vec::new(),
        cores: Default::default(),
        warm_up: Vec::new(),
        address: Some(address.to_owned()),
    }
}

/// Takes out the brokers that have nothing to do.
pub fn drop_idle_brokers(suite: &mut Suite) {
    let busy: HashSet<String> = suite
        .cases()
        .flat_map(|case| case.brokers.clone())
        .collect();
    suite.brokers.retain(|broker| busy.contains(&broker.id));
}

/// One case, put to one broker.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// The broker.
    pub contender: &'a Contender,
    /// What it meets.
    pub case: &'a Case,
}

/// The turns of a round, of which the first is number one.
pub fn turns(suite: &Suite, round: usize) -> Vec<Turn<'_>> {
    let mut turns = Vec::new();
    for case in suite.cases() {
        let concerned = suite.brokers.iter();
        let concerned = concerned.filter(|contender| case.brokers.contains(&contender.id));
        let mut of_case: Vec<_> = concerned
            .map(|contender| Turn { contender, case })
            .collect();
        if round.is_multiple_of(2) {
            of_case.reverse();
        }
        turns.append(&mut of_case);
    }
    turns
}

/// How long things take: as told by their options, then as they did take.
#[derive(Debug, Clone, Default)]
pub struct Durations {
    taken: HashMap<(String, String), f64>,
}

impl Durations {
    /// What a case took.
    pub fn remember(&mut self, broker: &str, case: &str, taken: Duration) {
        let key = (broker.to_owned(), case.to_owned());
        self.taken.insert(key, taken.as_secs_f64());
    }

    /// What a case will take.
    pub fn of_case(&self, broker: &str, case: &Case) -> f64 {
        let key = (broker.to_owned(), case.id.clone());
        let taken = self.taken.get(&key).copied();
        taken.unwrap_or_else(|| expected(case))
    }

    /// What the turns of a round will take, from the one with that index on.
    pub fn of_turns(&self, turns: &[Turn<'_>], from: usize) -> f64 {
        let (before, rest) = turns.split_at(from);
        let mut started: HashSet<&str> = before.iter().map(|turn| &*turn.contender.id).collect();
        let seconds = rest.iter().map(|turn| {
            let first = started.insert(&turn.contender.id);
            let start = if first { around(turn.contender) } else { 0.0 };
            start + self.of_case(&turn.contender.id, turn.case)
        });
        seconds.sum()
    }
}

/// What it takes to start and warm up a broker, and to stop it.
pub fn around(broker: &Contender) -> f64 {
    let start = match broker.kind {
        Kind::Kafka => KAFKA_START,
        Kind::Millstream | Kind::Running => MILLSTREAM_START,
    };
    start
        + broker
            .warm_up
            .iter()
            .map(|load| load_seconds(load, None))
            .sum::<f64>()
}

fn expected(case: &Case) -> f64 {
    let prepare = case.prepare.iter().map(|load| load_seconds(load, None));
    let measured = case
        .measured()
        .map(|load| load_seconds(load, case.expected_seconds));
    case.settle_seconds + prepare.chain(measured).sum::<f64>()
}

/// What a load takes by its options. One that is told nonsense refuses it by itself.
pub fn load_seconds(load: &str, unless_told: Option<f64>) -> f64 {
    let words: Vec<&str> = load.split_whitespace().collect();
    let option = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        let number = words.get(at + 1)?.parse::<f64>().ok()?;
        number.is_finite().then_some(number)
    };
    let measured = option("--seconds").or(unless_told).unwrap_or(UNKNOWN_LOAD);
    let told = measured + option("--warm-up").unwrap_or(0.0);
    told.clamp(0.0, LONGEST_LOAD) + AROUND_A_LOAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture;

    #[test]
    fn brokers_are_named_in_three_ways() {
        let parsed = |text| Wanted::parse(text).unwrap();
        assert_eq!(parsed("millstream"), Wanted::Kind(Kind::Millstream, vec![]));
        let settings = vec!["shards=2".to_owned(), "durability=written".to_owned()];
        let expected = Wanted::Kind(Kind::Millstream, settings);
        assert_eq!(parsed("millstream:shards=2,durability=written"), expected);
        let running = Wanted::Running {
            name: "other".to_owned(),
            address: "10.0.0.1:9092".to_owned(),
        };
        assert_eq!(parsed("other=10.0.0.1:9092"), running);
        for wrong in [
            "",
            "redpanda",
            "=a:1",
            "a=b",
            "millstream:shards",
            "a b=c:1",
        ] {
            assert!(Wanted::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn wanted_brokers_take_the_place_of_the_suites() {
        let mut suite = fixture::results().suite;
        let wanted = [
            "millstream",
            "millstream:shards=2",
            "other=h:1",
            "millstream",
        ];
        let wanted: Vec<_> = wanted
            .iter()
            .map(|text| Wanted::parse(text).unwrap())
            .collect();
        choose_brokers(&mut suite, &wanted).unwrap();
        let names: Vec<_> = suite.brokers.iter().map(|broker| &broker.id).collect();
        assert_eq!(names, ["fsync", "fsync+shards=2", "other"]);
        assert_eq!(turns(&suite, 1).len(), 3 * 2);
        assert_eq!(suite.brokers[1].set, ["shards=2"]);
        suite.rows[0].cases[0].brokers.pop();
        suite.rows[1].cases.clear();
        drop_idle_brokers(&mut suite);
        assert_eq!(suite.brokers.len(), 2);
    }

    #[test]
    fn time_is_told_by_options_until_it_was_taken() {
        let load = "end-to-end --rate 1000 --seconds 20 --warm-up 5";
        assert_eq!(load_seconds("produce --seconds -5", None), AROUND_A_LOAD);
        assert!(load_seconds("produce --seconds inf", None) <= LONGEST_LOAD + AROUND_A_LOAD);
        assert_eq!(load_seconds(load, Some(3.0)), 25.0 + AROUND_A_LOAD);
        assert_eq!(
            load_seconds("consume --records 9", Some(3.0)),
            3.0 + AROUND_A_LOAD
        );
        let suite = fixture::results().suite;
        let mut durations = Durations::default();
        let turns = turns(&suite, 1);
        let Turn { contender, case } = turns[0];
        let before = durations.of_turns(&turns, 0);
        durations.remember(&contender.id, &case.id, Duration::from_secs(100));
        let after = durations.of_turns(&turns, 0);
        let close = |left: f64, right: f64| (left - right).abs() < 1e-9;
        assert!(close(after - before, 100.0 - UNKNOWN_LOAD - AROUND_A_LOAD));
        // Each broker is started for its first case.
        assert!(close(
            after,
            durations.of_turns(&turns, 1) + around(contender) + 100.0
        ));
        let last = &turns[turns.len() - 1];
        let alone = durations.of_case(&last.contender.id, last.case);
        assert!(close(durations.of_turns(&turns, turns.len() - 1), alone));
    }

    #[test]
    fn who_is_first_in_a_round_is_last_in_the_next() {
        let suite = fixture::results().suite;
        let order = |round| -> Vec<String> {
            let turns = turns(&suite, round).into_iter();
            turns
                .map(|turn| format!("{} {}", turn.case.id, turn.contender.id))
                .collect()
        };
        let odd = ["1a kafka", "1a fsync", "5a kafka", "5a fsync"];
        assert_eq!(order(1), odd);
        assert_eq!(order(2), ["1a fsync", "1a kafka", "5a fsync", "5a kafka"]);
        assert_eq!(order(3), odd);
    }
}
