//! Who has its turn when, and how long that takes.
//!
//! Within a round each broker has one turn, in the order of the suite: A B C A B C. In its turn it
//! is started, warmed up, and meets all of its cases.

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

/// The brokers that have something to do, with their cases, in the order of their turns.
pub fn turns(suite: &Suite) -> Vec<(&Contender, Vec<&Case>)> {
    let turn = |broker: &'_ Contender| -> Vec<&Case> {
        let concerned = |case: &&Case| case.brokers.contains(&broker.id);
        suite.cases().filter(concerned).collect()
    };
    let with_cases = suite.brokers.iter().map(|broker| (broker, turn(broker)));
    with_cases.filter(|(_, cases)| !cases.is_empty()).collect()
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

    /// What a whole turn will take, from the case with that index on.
    pub fn of_turn(&self, broker: &Contender, cases: &[&Case], from: usize) -> f64 {
        let cases = cases.iter().skip(from);
        cases.map(|case| self.of_case(&broker.id, case)).sum()
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
        let turns = turns(&suite);
        let names: Vec<_> = turns.iter().map(|(broker, _)| broker.id.as_str()).collect();
        assert_eq!(names, ["fsync", "fsync+shards=2", "other"]);
        assert!(turns.iter().all(|(_, cases)| cases.len() == 2));
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
        let turns = turns(&suite);
        let (broker, cases) = &turns[0];
        let before = durations.of_turn(broker, cases, 0);
        durations.remember(&broker.id, &cases[0].id, Duration::from_secs(100));
        let after = durations.of_turn(broker, cases, 0);
        assert!((after - before - 100.0 + UNKNOWN_LOAD + AROUND_A_LOAD).abs() < 1e-9);
    }
}
