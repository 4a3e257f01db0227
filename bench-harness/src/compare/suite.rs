//! A suite as data: brokers with their settings, rows with their loads, bars. Read from TOML.
//!
//! ```toml
//! [[broker]]
//! id = "kafka"                     # bars and cases name it by this
//! kind = "kafka"
//!
//! [[row]]
//! number = 1
//! title = "Produce at saturation"
//! [[row.case]]
//! id = "1a"
//! brokers = ["kafka", "fsync"]     # each is measured alike
//! load = "produce --partitions 1"  # options of `millstream-bench load`
//! # or, in its place, a program that nobody here wrote, run by bench-harness/witness:
//! witness = "kafka-producer-perf-test --partitions 1 --records 1000000"
//! [[row.bar]]
//! of = "fsync.mb_per_cpu_s@1a / kafka.mb_per_cpu_s@1a"
//! at_least = 6
//! ```
//!
//! An option may hold an expression in braces, such as `--rate {0.5 * kafka.records_s@1a}`: it is
//! worked out once, by the first figures that there are, and is the same for all brokers.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::CompareError;
use super::expression::Expression;
use super::figures::is_figure;
use super::probes::ProbeFigure;

/// The name by which expressions know what the machine gives.
pub const PROBE: &str = "probe";

const STANDARD: &str = include_str!("suites/standard.toml");
const SHORT: &str = include_str!("suites/short.toml");
const WITNESS: &str = include_str!("suites/witness.toml");

/// The longest pause before what is measured, and the longest probe.
const MAX_SECONDS: f64 = 600.0;

/// What is measured, on which brokers, and what is asked of the figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// What it is good for, in a sentence.
    pub about: String,
    /// Rounds unless told.
    pub rounds: usize,
    /// Whether its figures may be published.
    #[serde(default)]
    pub for_publication: bool,
    /// TCP congestion control for the time of the run; left alone unless given.
    #[serde(default)]
    pub congestion_control: Option<String>,
    /// Memory that is touched before each broker's turn, and after the page cache was dropped,
    /// in GB.
    #[serde(default)]
    pub touch_gb: f64,
    /// Free disk space that a run needs, in GB.
    #[serde(default)]
    pub disk_gb: f64,
    /// What is found out about the machine itself.
    pub probes: ProbeSizes,
    /// The brokers.
    #[serde(rename = "broker")]
    pub brokers: Vec<Contender>,
    /// The rows.
    #[serde(rename = "row")]
    pub rows: Vec<Row>,
}

/// How large the probes are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeSizes {
    /// Bytes written to and read from the disk, in MB.
    pub disk_mb: u64,
    /// Seconds of receiving over loopback.
    pub loopback_seconds: f64,
    /// Seconds of watching for times in which the core is taken away; not done if 0.
    #[serde(default)]
    pub stall_seconds: f64,
    /// Seconds of small writes, each with its flush; not done if 0.
    #[serde(default)]
    pub flush_seconds: f64,
    /// Seconds of exchanging the messages of records; not done if 0.
    #[serde(default)]
    pub exchange_seconds: f64,
    /// Bytes of a message over loopback.
    pub message_bytes: usize,
}

impl ProbeSizes {
    /// About how long they take.
    pub fn seconds(&self) -> f64 {
        self.loopback_seconds
            + self.stall_seconds
            + self.flush_seconds
            + self.exchange_seconds
            + 4.0
    }
}

/// What a broker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `millstreamd` from beside this program.
    Millstream,
    /// Apache Kafka through `scripts/peers/kafka`.
    Kafka,
    /// One that runs already.
    Running,
}

/// Which cores a broker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Its own; the load has others.
    #[default]
    Apart,
    /// Its own and those of the load, which in turn has both as well.
    Shared,
}

/// A broker with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contender {
    /// The name in expressions.
    pub id: String,
    /// The name for people.
    pub label: String,
    /// What it is.
    pub kind: Kind,
    /// When it answers: the flush setting in words.
    pub flush: String,
    /// Settings, as KEY=VALUE.
    #[serde(default)]
    pub set: Vec<String>,
    /// Its cores.
    #[serde(default)]
    pub cores: Sharing,
    /// Loads after its start, before anything is measured.
    #[serde(default)]
    pub warm_up: Vec<String>,
    /// Where it runs, if it runs already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its number.
    pub number: u32,
    /// What it is about.
    pub title: String,
    /// What is measured; none where the bars are about figures of other rows.
    #[serde(default, rename = "case")]
    pub cases: Vec<Case>,
    /// What is asked of the figures.
    #[serde(default, rename = "bar")]
    pub bars: Vec<Bar>,
}

/// One load, put on several brokers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The name in expressions.
    pub id: String,
    /// What it is, within its row.
    pub title: String,
    /// The brokers that are measured.
    pub brokers: Vec<String>,
    /// Loads on the same topic before, which are not measured.
    #[serde(default)]
    pub prepare: Vec<String>,
    /// The page cache is dropped before the load.
    #[serde(default)]
    pub drop_page_cache: bool,
    /// Waited for what the broker does by itself, before what is measured.
    #[serde(default)]
    pub settle_seconds: f64,
    /// The load; without one, and without a witness, only the broker's memory is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<String>,
    /// In the place of the load: a tool of others and its options, as bench-harness/witness has
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<String>,
    /// About how long it takes where its options do not tell.
    #[serde(default)]
    pub expected_seconds: Option<f64>,
}

/// Something asked of the figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    /// What it is, in words.
    pub title: String,
    /// The expression.
    pub of: String,
    /// The least that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// The most that is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// What excuses a miss when it is shown to have been the limit of the first figure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unless: Vec<Limit>,
}

/// What kept a figure from being better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// The load, at its cores.
    Client,
    /// The broker, at its cores.
    Broker,
    /// The disk, near the rate that the probe had.
    Disk,
    /// The cores that broker and load share.
    Cores,
}

impl Limit {
    /// In a word or two.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Client => "the load",
            Limit::Broker => "the broker",
            Limit::Disk => "the disk",
            Limit::Cores => "the shared cores",
        }
    }
}

impl Suite {
    /// The suite of that name, or the one in that file.
    ///
    /// # Errors
    /// There is none, or it contradicts itself.
    pub fn load(name: &str) -> Result<Suite, CompareError> {
        match name {
            "standard" => Suite::parse(name, STANDARD),
            "short" => Suite::parse(name, SHORT),
            "witness" => Suite::parse(name, WITNESS),
            file => {
                let text = std::fs::read_to_string(Path::new(file))
                    .map_err(|cause| CompareError::file(file, cause))?;
                Suite::parse(file, &text)
            }
        }
    }

    fn parse(name: &str, text: &str) -> Result<Suite, CompareError> {
        let broken = |reason: String| CompareError::Suite {
            name: name.to_owned(),
            reason,
        };
        let suite: Suite = toml::from_str(text).map_err(|cause| broken(cause.to_string()))?;
        suite.check().map_err(broken)?;
        Ok(suite)
    }

    /// All cases, in order.
    pub fn cases(&self) -> impl Iterator<Item = &Case> {
        self.rows.iter().flat_map(|row| &row.cases)
    }

    /// The case of that name.
    pub fn case(&self, id: &str) -> Option<&Case> {
        self.cases().find(|case| case.id == id)
    }

    /// The broker of that name.
    pub fn broker(&self, id: &str) -> Option<&Contender> {
        self.brokers.iter().find(|broker| broker.id == id)
    }

    /// Keeps the rows and cases of these names, and what their expressions need.
    ///
    /// # Errors
    /// A name is not known.
    pub fn keep_only(&mut self, wanted: &[String]) -> Result<(), CompareError> {
        let named = |row: &Row, name: &str| row.number.to_string() == name;
        for name in wanted {
            let known = self.rows.iter().any(|row| named(row, name)) || self.case(name).is_some();
            if !known {
                return Err(CompareError::UnknownRow(name.clone()));
            }
        }
        let mut kept: HashSet<String> = HashSet::new();
        for row in &self.rows {
            let whole = wanted.iter().any(|name| named(row, name));
            let cases = row.cases.iter().map(|case| &case.id);
            kept.extend(cases.filter(|id| whole || wanted.contains(id)).cloned());
            if whole {
                let bars = row.bars.iter().flat_map(|bar| cases_of(&bar.of));
                kept.extend(bars);
            }
        }
        loop {
            let needed: Vec<String> = self
                .cases()
                .filter(|case| kept.contains(&case.id))
                .flat_map(|case| case.loads().flat_map(placeholders).collect::<Vec<_>>())
                .flat_map(|expression| cases_of(&expression))
                .filter(|id| !kept.contains(id))
                .collect();
            if needed.is_empty() {
                break;
            }
            kept.extend(needed);
        }
        for row in &mut self.rows {
            row.cases.retain(|case| kept.contains(&case.id));
        }
        let rows = |row: &Row| !row.cases.is_empty() || wanted.iter().any(|name| named(row, name));
        self.rows.retain(rows);
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        check_seconds("probes: loopback_seconds", self.probes.loopback_seconds)?;
        check_seconds("probes: stall_seconds", self.probes.stall_seconds)?;
        check_seconds("probes: flush_seconds", self.probes.flush_seconds)?;
        check_seconds("probes: exchange_seconds", self.probes.exchange_seconds)?;
        let mut ids = HashSet::from([PROBE]);
        for broker in &self.brokers {
            if !ids.insert(&broker.id) {
                return Err(format!("there are two brokers {:?}", broker.id));
            }
            if (broker.kind == Kind::Running) != broker.address.is_some() {
                return Err(format!(
                    "{:?}: only a running broker has an address",
                    broker.id
                ));
            }
        }
        let mut ids = HashSet::new();
        for case in self.cases() {
            if !ids.insert(&case.id) {
                return Err(format!("there are two cases {:?}", case.id));
            }
            if case.load.is_some() && case.witness.is_some() {
                return Err(format!("case {}: a load or a witness, not both", case.id));
            }
            check_seconds(
                &format!("case {}: settle_seconds", case.id),
                case.settle_seconds,
            )?;
            for broker in &case.brokers {
                if self.broker(broker).is_none() {
                    return Err(format!("case {}: no broker {broker:?}", case.id));
                }
            }
            for expression in case.loads().flat_map(placeholders) {
                self.check_expression(&expression)?;
            }
        }
        for row in &self.rows {
            for bar in &row.bars {
                if bar.at_least.is_some() == bar.at_most.is_some() {
                    return Err(format!("{:?}: one of at_least and at_most", bar.title));
                }
                self.check_expression(&bar.of)?;
            }
        }
        Ok(())
    }

    fn check_expression(&self, text: &str) -> Result<(), String> {
        let expression = Expression::parse(text).map_err(|cause| format!("{text:?}: {cause}"))?;
        for reference in expression.references() {
            let found = if reference.who == PROBE {
                ProbeFigure::named(&reference.figure).is_some()
            } else {
                let case = reference.case.as_ref().and_then(|id| self.case(id));
                is_figure(&reference.figure)
                    && case.is_some_and(|case| case.brokers.contains(&reference.who))
            };
            if !found {
                return Err(format!("{text:?}: nothing measures {reference}"));
            }
        }
        Ok(())
    }
}

impl Case {
    /// All that is put on the broker.
    pub fn loads(&self) -> impl Iterator<Item = &str> {
        let prepare = self.prepare.iter().map(String::as_str);
        prepare.chain(self.measured())
    }

    /// What is measured: the load or the witness.
    pub fn measured(&self) -> Option<&str> {
        self.load.as_deref().or(self.witness.as_deref())
    }

    /// The command that runs what is measured, with its options worked out.
    pub fn command_line(&self, options: &str) -> String {
        let program = match self.witness {
            Some(_) => "python3 bench-harness/witness",
            None => "millstream-bench load",
        };
        format!("{program} {options}")
    }
}

/// The expressions in braces.
pub fn placeholders(load: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = load;
    while let Some((_, after)) = rest.split_once('{') {
        let Some((inside, behind)) = after.split_once('}') else {
            break;
        };
        found.push(inside.to_owned());
        rest = behind;
    }
    found
}

fn cases_of(expression: &str) -> Vec<String> {
    let parsed = Expression::parse(expression).ok();
    let references = parsed.map(|parsed| parsed.references()).unwrap_or_default();
    references
        .into_iter()
        .filter_map(|reference| reference.case)
        .collect()
}

fn check_seconds(name: &str, seconds: f64) -> Result<(), String> {
    if (0.0..=MAX_SECONDS).contains(&seconds) {
        return Ok(());
    }
    Err(format!("{name} is {seconds}, not from 0 to {MAX_SECONDS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suites_that_come_along_are_sound() {
        let standard = Suite::load("standard").unwrap();
        assert!(standard.for_publication && standard.rounds >= 5);
        let numbers: Vec<_> = standard.rows.iter().map(|row| row.number).collect();
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (1..=14).collect::<Vec<_>>());
        let short = Suite::load("short").unwrap();
        assert!(!short.for_publication);
        let witness = Suite::load("witness").unwrap();
        assert!(witness.for_publication && witness.rounds >= 5);
        assert!(witness.cases().all(|case| case.witness.is_some()));
    }

    #[test]
    fn a_row_brings_along_what_its_expressions_need() {
        let mut suite = Suite::load("standard").unwrap();
        suite.keep_only(&["7".to_owned()]).unwrap();
        let ids: Vec<_> = suite.cases().map(|case| case.id.as_str()).collect();
        assert_eq!(ids, ["7a", "7b"]);
        let mut suite = Suite::load("standard").unwrap();
        suite.keep_only(&["6".to_owned()]).unwrap();
        let ids: Vec<_> = suite.cases().map(|case| case.id.as_str()).collect();
        assert_eq!(ids, ["5a", "6"]);
        let mut suite = Suite::load("standard").unwrap();
        suite.keep_only(&["1a".to_owned()]).unwrap();
        assert_eq!(suite.cases().count(), 1);
        assert!(suite.keep_only(&["99".to_owned()]).is_err());
    }

    #[test]
    fn a_suite_that_contradicts_itself_is_refused() {
        let text = SHORT.replacen("kafka.mb_per_cpu_s", "kafka.mb_per_cpu", 1);
        let error = Suite::parse("mine", &text).unwrap_err().to_string();
        assert!(
            error.contains("nothing measures kafka.mb_per_cpu@"),
            "{error}"
        );
        let text = SHORT.replacen("load = ", "witness = \"kafka-e2e-latency\"\nload = ", 1);
        let error = Suite::parse("mine", &text).unwrap_err().to_string();
        assert!(error.contains("a load or a witness"), "{error}");
        for seconds in ["-1.0", "nan", "601.0"] {
            let settle = format!("settle_seconds = {seconds}\nload = ");
            let text = SHORT.replacen("load = ", &settle, 1);
            let error = Suite::parse("mine", &text).unwrap_err().to_string();
            assert!(error.contains("not from 0 to 600"), "{error}");
        }
        let text = SHORT.replacen("loopback_seconds = ", "loopback_seconds = -", 1);
        let error = Suite::parse("mine", &text).unwrap_err().to_string();
        assert!(error.contains("loopback_seconds is -"), "{error}");
    }

    #[test]
    fn a_witness_stands_in_the_place_of_a_load() {
        let text = SHORT.replacen("load = ", "witness = ", 1);
        let suite = Suite::parse("mine", &text).unwrap();
        let cases: Vec<_> = suite.cases().collect();
        let (witness, load) = (cases[0], cases[1]);
        assert!(witness.load.is_none() && witness.measured() == witness.witness.as_deref());
        assert_eq!(witness.loads().count(), 1);
        assert_eq!(
            witness.command_line("some-tool --size 1"),
            "python3 bench-harness/witness some-tool --size 1"
        );
        assert_eq!(
            load.command_line("produce"),
            "millstream-bench load produce"
        );
        // What a witness needs to be worked out is known before it is run.
        let size = "witness = \"produce --size ";
        let text = text.replacen(
            &format!("{size}1024"),
            &format!("{size}{{nobody.mb_s@2}}"),
            1,
        );
        let error = Suite::parse("mine", &text).unwrap_err().to_string();
        assert!(error.contains("nothing measures nobody.mb_s@2"), "{error}");
    }
}
