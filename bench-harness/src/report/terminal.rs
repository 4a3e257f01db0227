//! Tables as text.

use std::fmt::Write;

use super::changes::{is_change, word as change_word};
use super::chart::with_spread;
use super::page::word;
use crate::compare::{
    Case, PROBE_FIGURES, Results, Summary, Verdict, compare_with_baseline, short, verdicts,
};

/// Columns of figures, with their heads.
const COLUMNS: &[(&str, &str)] = &[
    ("mb_s", "MB/s"),
    ("records_s", "records/s"),
    ("cpu_s_per_gb", "CPU s/GB"),
    ("mb_per_cpu_s", "MB/CPU s"),
    ("p50_ms", "p50 ms"),
    ("p99_ms", "p99 ms"),
    ("p999_ms", "p99.9"),
    ("resident_mb", "RSS MB"),
];

/// All of it, row by row.
pub fn terminal(results: &Results, baseline: Option<&Results>) -> String {
    let summary = Summary::of(results);
    let verdicts = verdicts(results, &summary);
    let mut text = String::new();
    let mut rows: Vec<_> = results.suite.rows.iter().collect();
    rows.sort_by_key(|row| row.number);
    for row in rows {
        let _ = writeln!(text, "\n{}. {}", row.number, row.title);
        for case in &row.cases {
            text += &case_table(results, &summary, case);
        }
        for verdict in verdicts.iter().filter(|verdict| verdict.row == row.number) {
            text += &verdict_line(verdict);
        }
    }
    text.push_str("\nThe machine itself\n");
    for figure in PROBE_FIGURES {
        if let Some(spread) = summary.probe(figure.name) {
            let _ = writeln!(
                text,
                "  {}: {}",
                figure.title,
                with_spread(spread, figure.unit)
            );
        }
    }
    if let Some(baseline) = baseline {
        text += &changes(baseline, results);
    }
    text.push('\n');
    for broker in &results.suite.brokers {
        let _ = writeln!(text, "{}: {}", broker.label, broker.flush);
    }
    for note in &results.notes {
        let _ = writeln!(text, "{note}");
    }
    for run in results.failed() {
        let failure = run.failure.as_deref().unwrap_or_default();
        let _ = writeln!(
            text,
            "Round {}, {}, case {} gave no figures: {failure}",
            run.round, run.broker, run.case
        );
    }
    text
}

fn case_table(results: &Results, summary: &Summary, case: &Case) -> String {
    let of_case = |broker: &&String| summary.figures(&case.id, broker).is_some();
    let brokers: Vec<_> = case.brokers.iter().filter(of_case).collect();
    let has = |name: &str| {
        brokers
            .iter()
            .any(|broker| summary.figure(&case.id, broker, name).is_some())
    };
    let columns: Vec<_> = COLUMNS.iter().filter(|(name, _)| has(name)).collect();
    let mut table = vec![{
        let mut head = vec![format!("{} {}", case.id, case.title)];
        head.extend(columns.iter().map(|(_, title)| (*title).to_owned()));
        head.push("limit".to_owned());
        head
    }];
    for broker in brokers {
        let contender = results.suite.broker(broker);
        let label = contender.map_or(broker.as_str(), |contender| &contender.label);
        let mut line = vec![format!("  {label}")];
        for (name, _) in &columns {
            let spread = summary.figure(&case.id, broker, name);
            line.push(spread.map_or("–".to_owned(), |spread| short(spread.median)));
        }
        line.push(summary.limit_names(&case.id, broker));
        table.push(line);
    }
    aligned(&table)
}

/// The first and last columns to the left, the others to the right.
fn aligned(table: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = table.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let columns = table.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in table {
        let mut written = String::new();
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            let _ = match column {
                0 => write!(written, "  {cell:<width$}"),
                _ if column + 1 == columns => write!(written, "  {cell}"),
                _ => write!(written, "  {cell:>width$}"),
            };
        }
        text += written.trim_end();
        text.push('\n');
    }
    text
}

fn verdict_line(verdict: &Verdict) -> String {
    let value = verdict.value.map_or("–".to_owned(), short);
    let limits: Vec<_> = verdict
        .limited_by
        .iter()
        .map(|limit| limit.name())
        .collect();
    let limit = match limits.is_empty() {
        true => String::new(),
        false => format!(" (the limit: {})", limits.join(", ")),
    };
    let outcome = word(verdict.outcome);
    let (asked, title) = (verdict.asked(), &verdict.bar.title);
    format!("    {outcome:<12} {value:>8}, asked {asked:<8} {title}{limit}\n")
}

fn changes(baseline: &Results, results: &Results) -> String {
    let all = compare_with_baseline(baseline, results);
    let changed: Vec<_> = all.iter().filter(|found| is_change(found.change)).collect();
    let mut text = format!(
        "\nBeside the baseline: {} figures changed beyond the noise, {} did not\n",
        changed.len(),
        all.len() - changed.len()
    );
    for found in changed {
        let _ = writeln!(
            text,
            "  {:<8} {:+.1} %  {} {}, {}: {} -> {}",
            change_word(found.change),
            found.percent(),
            found.case,
            found.broker,
            found.title,
            with_spread(&found.then, found.unit),
            with_spread(&found.now, found.unit),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture;

    #[test]
    fn the_table_has_medians_limits_and_outcomes() {
        let results = fixture::results();
        let text = terminal(&results, None);
        let line = |start: &str| {
            let found = text
                .lines()
                .find(|line| line.trim_start().starts_with(start));
            found
                .unwrap_or_else(|| panic!("{start}: {text}"))
                .to_owned()
        };
        let ours = line("Millstream, fsync");
        assert!(ours.contains("800") && ours.contains("0.5") && ours.ends_with("the load"));
        assert!(line("met").contains("asked ≥ 6"));
        assert!(line("limited").contains("(the limit: the load)"));
        assert!(line("Disk, sequential O_DIRECT writes").contains("600 MB/s"));
        assert!(
            text.lines().all(|line| line.chars().count() <= 120),
            "{text}"
        );
    }

    #[test]
    fn a_baseline_tells_what_changed() {
        let then = fixture::results();
        let now = fixture::with_cpu_times(&then, 0.5);
        let text = terminal(&now, Some(&then));
        assert!(text.contains("better   -50.0 %"), "{text}");
    }
}
