//! An earlier comparison beside this one: what has changed beyond the noise.
//!
//! The noise is what the rounds themselves show: a figure has changed when the rounds of then and
//! of now do not overlap. With fewer than three rounds on either side nothing is called a change.

use super::figures::FIGURES;
use super::results::Results;
use super::summary::{Spread, Summary};

/// Rounds below which spread says nothing.
const ROUNDS_MIN: usize = 3;

/// Figures that are set beside earlier ones; the others follow from them.
const COMPARED: &[&str] = &[
    "mb_s",
    "catch_up_mb_s",
    "connections_s",
    "cpu_s_per_gb",
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "resident_mb",
];

/// A figure then and now.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The case.
    pub case: String,
    /// The broker.
    pub broker: String,
    /// The figure's name.
    pub figure: &'static str,
    /// Its title.
    pub title: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// The earlier one.
    pub then: Spread,
    /// This one.
    pub now: Spread,
    /// What has become of it.
    pub change: Change,
}

/// What has become of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Beyond the noise, for the better.
    Better,
    /// Beyond the noise, for the worse.
    Worse,
    /// Beyond the noise; neither is better.
    Other,
    /// Within the noise.
    Noise,
    /// There are too few rounds to tell.
    TooFewRounds,
}

impl Comparison {
    /// By how much the median has changed, in percent.
    pub fn percent(&self) -> f64 {
        if self.then.median == 0.0 {
            return 0.0;
        }
        (self.now.median / self.then.median - 1.0) * 100.0
    }
}

/// The figures that both have, of those that do not follow from others.
pub fn compare(then: &Results, now: &Results) -> Vec<Comparison> {
    let (earlier, later) = (Summary::of(then), Summary::of(now));
    let mut found = Vec::new();
    for case in now.suite.cases() {
        for broker in &case.brokers {
            for figure in FIGURES
                .iter()
                .filter(|figure| COMPARED.contains(&figure.name))
            {
                let then = earlier.figure(&case.id, broker, figure.name);
                let now = later.figure(&case.id, broker, figure.name);
                let Some((then, now)) = then.zip(now) else {
                    continue;
                };
                found.push(Comparison {
                    case: case.id.clone(),
                    broker: broker.clone(),
                    figure: figure.name,
                    title: figure.title,
                    unit: figure.unit,
                    then: then.clone(),
                    now: now.clone(),
                    change: change(then, now, figure.less_is_better),
                });
            }
        }
    }
    found
}

fn change(then: &Spread, now: &Spread, less_is_better: Option<bool>) -> Change {
    if then.rounds.min(now.rounds) < ROUNDS_MIN {
        return Change::TooFewRounds;
    }
    let less = now.greatest < then.least;
    let more = now.least > then.greatest;
    match less_is_better {
        _ if !less && !more => Change::Noise,
        None => Change::Other,
        Some(less_is_better) if less_is_better == less => Change::Better,
        Some(_) => Change::Worse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture;

    fn of(found: &[Comparison], broker: &str, figure: &str) -> Change {
        let found = found.iter().find(|comparison| {
            comparison.case == "1a" && comparison.broker == broker && comparison.figure == figure
        });
        found.unwrap().change
    }

    #[test]
    fn only_what_lies_outside_the_noise_has_changed() {
        let then = fixture::results();
        let mut now = then.clone();
        for run in now.runs.iter_mut().filter(|run| run.broker == "fsync") {
            let load = run.load.as_mut().unwrap();
            // Twice the CPU, and 2 % more bytes, where rounds differ by 10 %.
            load.broker.as_mut().unwrap().cpu_seconds *= 2.0;
            if let Some(produced) = &mut load.produced {
                produced.bytes *= 1.02;
            }
        }
        let found = compare(&then, &now);
        assert_eq!(of(&found, "fsync", "cpu_s_per_gb"), Change::Worse);
        assert_eq!(of(&found, "fsync", "mb_s"), Change::Noise);
        assert_eq!(of(&found, "kafka", "cpu_s_per_gb"), Change::Noise);
        let back = compare(&now, &then);
        assert_eq!(of(&back, "fsync", "cpu_s_per_gb"), Change::Better);
    }

    #[test]
    fn a_single_round_shows_no_change() {
        let then = fixture::results();
        let mut now = then.clone();
        now.runs.retain(|run| run.round == 1);
        for run in &mut now.runs {
            run.load.as_mut().unwrap().measured.seconds *= 10.0;
        }
        let found = compare(&then, &now);
        assert_eq!(of(&found, "fsync", "mb_s"), Change::TooFewRounds);
    }
}
