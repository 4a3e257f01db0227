//! Medians over the rounds, their spread, and what was the limit.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::expression::Reference;
use super::figures::FIGURES;
use super::probes::{PROBE_FIGURES, ProbeFigure};
use super::results::Results;
use super::suite::{Limit, PROBE, Sharing};

/// The load is the limit from here on, as a part of its cores.
const CLIENT_FULL: f64 = 0.95;
/// The broker is, as a part of its cores.
const BROKER_FULL: f64 = 0.90;
/// Cores that both share are full.
const SHARED_FULL: f64 = 0.95;
/// The disk is, as a part of the rate that the probe had.
const DISK_FULL: f64 = 0.80;

/// A figure over the rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
    /// How many there are.
    pub rounds: usize,
}

impl Spread {
    /// Of these; none of none.
    pub fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (least, greatest) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Spread {
            median,
            least,
            greatest,
            rounds: values.len(),
        })
    }
}

/// The figures of a case on a broker, by name.
pub type Figures = BTreeMap<&'static str, Spread>;

/// What follows from the runs.
#[derive(Debug, Clone)]
pub struct Summary {
    figures: BTreeMap<(String, String), Figures>,
    limits: BTreeMap<(String, String), Vec<Limit>>,
    probes: BTreeMap<&'static str, Spread>,
}

impl Summary {
    /// Of these results.
    pub fn of(results: &Results) -> Summary {
        let probes = probe_spreads(results);
        let mut figures = BTreeMap::new();
        let mut limits = BTreeMap::new();
        for case in results.suite.cases() {
            for broker in &case.brokers {
                let found = case_figures(results, &case.id, broker);
                let key = (case.id.clone(), broker.clone());
                if !found.is_empty() {
                    limits.insert(key.clone(), find_limits(results, broker, &found, &probes));
                    figures.insert(key, found);
                }
            }
        }
        Summary {
            figures,
            limits,
            probes,
        }
    }

    /// The figures of a case on a broker.
    pub fn figures(&self, case: &str, broker: &str) -> Option<&Figures> {
        self.figures.get(&(case.to_owned(), broker.to_owned()))
    }

    /// One figure.
    pub fn figure(&self, case: &str, broker: &str, name: &str) -> Option<&Spread> {
        self.figures(case, broker)?.get(name)
    }

    /// What was the limit of a case on a broker.
    pub fn limits(&self, case: &str, broker: &str) -> &[Limit] {
        let key = (case.to_owned(), broker.to_owned());
        self.limits.get(&key).map_or(&[], Vec::as_slice)
    }

    /// What was the limit of a case on a broker, in words.
    pub fn limit_names(&self, case: &str, broker: &str) -> String {
        let names: Vec<_> = self
            .limits(case, broker)
            .iter()
            .map(|limit| limit.name())
            .collect();
        match self.figure(case, broker, "client_busy") {
            Some(_) if names.is_empty() => "none shown".to_owned(),
            _ => names.join(", "),
        }
    }

    /// What the machine gave.
    pub fn probe(&self, name: &str) -> Option<&Spread> {
        self.probes.get(name)
    }

    /// What an expression names.
    pub fn spread(&self, reference: &Reference) -> Option<&Spread> {
        match &reference.case {
            Some(case) => self.figure(case, &reference.who, &reference.figure),
            None if reference.who == PROBE => self.probe(&reference.figure),
            None => None,
        }
    }

    /// For the written document: by case and broker.
    pub fn document(&self) -> Value {
        let mut document = json!({});
        for ((case, broker), figures) in &self.figures {
            let limits = self.limits(case, broker);
            document[case][broker] = json!({ "figures": figures, "limits": limits });
        }
        document[PROBE] = json!(self.probes);
        document
    }
}

/// What an expression names, in one round.
pub fn in_round(results: &Results, reference: &Reference, round: usize) -> Option<f64> {
    match &reference.case {
        Some(case) => {
            let figure = FIGURES
                .iter()
                .find(|figure| figure.name == reference.figure)?;
            let mut runs = results.runs_of(case, &reference.who);
            figure.of(runs.find(|run| run.round == round)?)
        }
        None => {
            let figure = ProbeFigure::named(&reference.figure)?;
            (figure.of)(results.probes.get(round.checked_sub(1)?)?)
        }
    }
}

fn case_figures(results: &Results, case: &str, broker: &str) -> Figures {
    let spread = |figure: &super::figures::Figure| {
        let values = results
            .runs_of(case, broker)
            .filter_map(|run| figure.of(run));
        Some((figure.name, Spread::of(values.collect())?))
    };
    FIGURES.iter().filter_map(spread).collect()
}

fn probe_spreads(results: &Results) -> BTreeMap<&'static str, Spread> {
    let spread = |figure: &ProbeFigure| {
        let values = results.probes.iter().filter_map(figure.of);
        Some((figure.name, Spread::of(values.collect())?))
    };
    PROBE_FIGURES.iter().filter_map(spread).collect()
}

fn find_limits(
    results: &Results,
    broker: &str,
    figures: &Figures,
    probes: &BTreeMap<&'static str, Spread>,
) -> Vec<Limit> {
    let median = |name: &str| figures.get(name).map(|spread| spread.median);
    let sharing = results.suite.broker(broker).map(|broker| broker.cores);
    let broker_cores = results.machine.broker_cores.len().max(1) as f64;
    let load_cores = results.machine.load_cores.len().max(1) as f64;
    let client = median("client_busy");
    let mut limits = Vec::new();
    if sharing == Some(Sharing::Shared) {
        let cores = broker_cores + load_cores;
        let busy = client.unwrap_or(0.0) * cores + median("broker_busy").unwrap_or(0.0);
        if busy >= SHARED_FULL * cores {
            limits.push(Limit::Cores);
        }
    } else {
        if client.is_some_and(|busy| busy >= CLIENT_FULL) {
            limits.push(Limit::Client);
        }
        if median("broker_busy").is_some_and(|busy| busy >= BROKER_FULL * broker_cores) {
            limits.push(Limit::Broker);
        }
    }
    let near = |figure: &str, probe: &str| {
        let bound = probes.get(probe).map(|spread| spread.median);
        let both = median(figure).zip(bound);
        both.is_some_and(|(rate, bound)| rate >= DISK_FULL * bound)
    };
    if near("disk_written_mb_s", "disk_write_mb_s") || near("disk_read_mb_s", "disk_read_mb_s") {
        limits.push(Limit::Disk);
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((spread.median, spread.least), (2.5, 1.0));
        assert_eq!((spread.greatest, spread.rounds), (4.0, 4));
        assert_eq!(Spread::of(vec![5.0, 9.0, 1.0]).unwrap().median, 5.0);
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn figures_follow_from_the_runs() {
        let results = fixture::results();
        let summary = Summary::of(&results);
        let rate = summary.figure("1a", "fsync", "produced_mb_s").unwrap();
        assert_eq!((rate.median, rate.rounds), (800.0, 3));
        // 8,000 MB in ten seconds, for which the broker needed four.
        let cost = summary.figure("1a", "fsync", "cpu_s_per_gb").unwrap();
        assert!((cost.median - 0.5).abs() < 1e-9, "{cost:?}");
        assert_eq!(summary.figure("1a", "fsync", "consumed_mb_s"), None);
        let p99 = summary.figure("5a", "kafka", "p99_ms").unwrap();
        assert_eq!(p99.median, 2.5);
    }

    #[test]
    fn who_was_full_was_the_limit() {
        let mut results = fixture::results();
        let limits = |results: &Results| {
            let summary = Summary::of(results);
            let of = |broker| summary.limits("1a", broker).to_vec();
            (of("fsync"), of("kafka"))
        };
        assert_eq!(limits(&results), (vec![Limit::Client], vec![Limit::Broker]));
        for run in &mut results.runs {
            let load = run.load.as_mut().unwrap();
            load.client.busy = 0.94;
            let broker = load.broker.as_mut().unwrap();
            broker.busy = 0.89;
            broker.written_bytes = Some(0.79 * 1e9 * load.measured.seconds);
        }
        assert_eq!(limits(&results), (vec![], vec![]));
        assert_eq!(
            Summary::of(&results).limit_names("1a", "fsync"),
            "none shown"
        );
        for run in &mut results.runs {
            let load = run.load.as_mut().unwrap();
            let seconds = load.measured.seconds;
            load.broker.as_mut().unwrap().written_bytes = Some(0.8 * 1e9 * seconds);
        }
        assert_eq!(limits(&results).0, vec![Limit::Disk]);
    }

    #[test]
    fn shared_cores_are_full_together() {
        let mut results = fixture::results();
        results.suite.brokers[1].cores = Sharing::Shared;
        for run in &mut results.runs {
            let load = run.load.as_mut().unwrap();
            load.client.busy = 0.5;
            load.broker.as_mut().unwrap().busy = 0.95;
        }
        let summary = Summary::of(&results);
        assert_eq!(summary.limits("1a", "fsync"), [Limit::Cores]);
        assert_eq!(summary.limits("1a", "kafka"), [Limit::Broker]);
    }
}
