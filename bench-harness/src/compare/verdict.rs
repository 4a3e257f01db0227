//! Whether the bars are met.

use serde::Serialize;

use super::expression::Expression;
use super::results::Results;
use super::suite::{Bar, Limit};
use super::summary::{Spread, Summary, in_round};

/// How a bar came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// By the medians.
    Met,
    /// Missed, and nothing else was the limit.
    Missed,
    /// Missed, but something else that the bar allows for was shown to be the limit.
    Limited,
    /// A figure is missing.
    NotMeasured,
}

/// A bar with its outcome.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The row's number.
    pub row: u32,
    /// The bar.
    #[serde(flatten)]
    pub bar: Bar,
    /// How it came out.
    pub outcome: Outcome,
    /// What the expression came to, by the medians.
    pub value: Option<f64>,
    /// The same for each round by itself: least and greatest.
    pub spread: Option<Spread>,
    /// What was shown to be the limit.
    pub limited_by: Vec<Limit>,
}

impl Verdict {
    /// What is asked, in words.
    pub fn asked(&self) -> String {
        match (self.bar.at_least, self.bar.at_most) {
            (Some(least), _) => format!("≥ {}", asked(least)),
            (None, Some(most)) => format!("≤ {}", asked(most)),
            (None, None) => String::new(),
        }
    }
}

/// The outcomes of all bars, in the order of the suite.
pub fn verdicts(results: &Results, summary: &Summary) -> Vec<Verdict> {
    let rows = results.suite.rows.iter();
    rows.flat_map(|row| row.bars.iter().map(|bar| (row.number, bar.clone())))
        .map(|(row, bar)| judge(results, summary, row, bar))
        .collect()
}

fn judge(results: &Results, summary: &Summary, row: u32, bar: Bar) -> Verdict {
    let expression = Expression::parse(&bar.of).ok();
    let by_medians = |expression: &Expression| {
        expression.value(&|reference| Some(summary.spread(reference)?.median))
    };
    let value = expression.as_ref().and_then(by_medians);
    let by_rounds = |expression: &Expression| {
        let rounds = 1..=results.rounds_done();
        let value = |round| expression.value(&|name| in_round(results, name, round));
        Spread::of(rounds.filter_map(value).collect())
    };
    let spread = expression.as_ref().and_then(by_rounds);
    let limits = expression.as_ref().and_then(|expression| {
        let first = expression.references().into_iter().next()?;
        Some(summary.limits(&first.case?, &first.who))
    });
    let limited_by = excuses(&bar, limits.unwrap_or_default());
    let outcome = match value {
        None => Outcome::NotMeasured,
        Some(value) if holds(&bar, value) => Outcome::Met,
        Some(_) if limited_by.is_empty() => Outcome::Missed,
        Some(_) => Outcome::Limited,
    };
    Verdict {
        row,
        bar,
        outcome,
        value,
        spread,
        limited_by,
    }
}

fn holds(bar: &Bar, value: f64) -> bool {
    bar.at_least.is_none_or(|least| value >= least) && bar.at_most.is_none_or(|most| value <= most)
}

/// The limits that the bar allows for. A full load excuses nothing while the broker is full too.
fn excuses(bar: &Bar, limits: &[Limit]) -> Vec<Limit> {
    let broker_full = limits.contains(&Limit::Broker);
    let excused =
        |limit: &&Limit| bar.unless.contains(limit) && !(**limit == Limit::Client && broker_full);
    limits.iter().filter(excused).copied().collect()
}

/// A bar as people say it: 0.125 is an eighth.
fn asked(value: f64) -> String {
    let parts = (1.0 / value).round();
    if value < 1.0 && (1.0 / value - parts).abs() < 0.01 {
        format!("1/{parts}")
    } else {
        trimmed(value)
    }
}

/// A number without zeros behind its point.
pub fn trimmed(value: f64) -> String {
    let text = short(value);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A number with no more digits than say something.
pub fn short(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        _ => 3,
    };
    with_thousands(&format!("{value:.digits$}"))
}

fn with_thousands(text: &str) -> String {
    let (sign, rest) = text
        .strip_prefix('-')
        .map_or(("", text), |rest| ("-", rest));
    let (whole, fraction) = match rest.split_once('.') {
        Some((whole, fraction)) => (whole, format!(".{fraction}")),
        None => (rest, String::new()),
    };
    let mut grouped = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture;

    fn outcomes(results: &Results) -> Vec<Outcome> {
        let verdicts = verdicts(results, &Summary::of(results));
        verdicts.iter().map(|verdict| verdict.outcome).collect()
    }

    #[test]
    fn bars_are_judged_by_medians() {
        let results = fixture::results();
        let verdicts = verdicts(&results, &Summary::of(&results));
        // 2,000 MB for each CPU second against 333.
        assert_eq!(verdicts[0].outcome, Outcome::Met);
        assert!((verdicts[0].value.unwrap() - 6.0).abs() < 0.01);
        let spread = verdicts[0].spread.as_ref().unwrap();
        assert!(spread.least < spread.greatest && spread.rounds == 3);
        assert_eq!(verdicts[0].asked(), "≥ 6");
        // p99 of 0.9 ms against 2.5 ms: no quarter.
        assert_eq!(verdicts[2].outcome, Outcome::Missed);
        assert_eq!(verdicts[3].outcome, Outcome::NotMeasured);
    }

    #[test]
    fn a_limit_that_is_shown_excuses_a_miss() {
        let mut results = fixture::results();
        // 800 MB/s are less than three times 300, but the load was full.
        assert_eq!(outcomes(&results)[1], Outcome::Limited);
        for run in &mut results.runs {
            run.load.as_mut().unwrap().broker.as_mut().unwrap().busy = 0.95;
        }
        assert_eq!(outcomes(&results)[1], Outcome::Missed);
        results.suite.rows[0].bars[1].at_least = Some(2.0);
        assert_eq!(outcomes(&results)[1], Outcome::Met);
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.0123, "0.012"),
            (0.4, "0.40"),
            (2.666, "2.67"),
            (25.04, "25.0"),
            (1234.5, "1,234"),
            (1_234_567.0, "1,234,567"),
            (-1000.0, "-1,000"),
            (300.0, "300"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
        assert_eq!(
            (trimmed(7.0), trimmed(0.5)),
            ("7".to_owned(), "0.5".to_owned())
        );
        let bars = [6.0, 1.2, 1.0, 0.25, 0.125, 0.3333, 0.1667, 0.6, 0.7].map(asked);
        assert_eq!(
            bars,
            ["6", "1.2", "1", "1/4", "1/8", "1/3", "1/6", "0.6", "0.7"]
        );
    }
}
