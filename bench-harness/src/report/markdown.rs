//! The tables of docs/benchmarks.md.

use std::fmt::Write;

use super::chart::with_spread;
use super::date::utc;
use super::page::word;
use crate::compare::{PROBE_FIGURES, Results, Spread, Summary, Verdict, short, verdicts};

/// The tables, with the machine and the commands that they come from.
pub fn markdown(results: &Results) -> String {
    let summary = Summary::of(results);
    let mut text = String::new();
    write_conditions(&mut text, results);
    write_figures(&mut text, results, &summary);
    write_bars(&mut text, &verdicts(results, &summary));
    write_probes(&mut text, &summary);
    write_commands(&mut text, results);
    text
}

fn write_conditions(text: &mut String, results: &Results) {
    let machine = &results.machine;
    let _ = writeln!(
        text,
        "{}: medians over the rounds in turns, of which there were {} (least and greatest in \
         brackets). {}, {} cores, {} GB, Linux {}; brokers on core {}, the load on core {}.",
        utc(results.began_unix_ms),
        results.rounds_done(),
        machine.processor,
        machine.cores,
        machine.memory_gb.round(),
        machine.kernel,
        numbers(&machine.broker_cores),
        numbers(&machine.load_cores),
    );
    for note in &results.notes {
        let _ = writeln!(text, "{note}");
    }
    text.push('\n');
    for broker in &results.suite.brokers {
        let version = results.versions.get(&broker.id).map_or("", String::as_str);
        let name = format!("{} {version}", broker.label);
        let _ = writeln!(text, "- {}: {}.", name.trim(), broker.flush);
    }
}

fn write_figures(text: &mut String, results: &Results, summary: &Summary) {
    text.push_str(
        "\n| # | Workload | Broker | MB/s | CPU s/GB | p50 / p99 / p99.9 ms | Memory MB | Limit |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut rows: Vec<_> = results.suite.rows.iter().collect();
    rows.sort_by_key(|row| row.number);
    for row in rows {
        for case in &row.cases {
            for broker in &case.brokers {
                if summary.figures(&case.id, broker).is_none() {
                    continue;
                }
                let label = results
                    .suite
                    .broker(broker)
                    .map_or("", |broker| &broker.label);
                let figure = |name| summary.figure(&case.id, broker, name);
                let cell = |name| figure(name).map_or(String::new(), spread);
                let latency: Vec<String> = ["p50_ms", "p99_ms", "p999_ms"]
                    .into_iter()
                    .filter_map(|name| Some(short(figure(name)?.median)))
                    .collect();
                let _ = writeln!(
                    text,
                    "| {} | {}: {} | {label} | {} | {} | {} | {} | {} |",
                    case.id,
                    cleaned(&row.title),
                    cleaned(&case.title),
                    cell("mb_s"),
                    cell("cpu_s_per_gb"),
                    latency.join(" / "),
                    figure("resident_mb").map_or(String::new(), |found| short(found.median)),
                    summary.limit_names(&case.id, broker),
                );
            }
        }
    }
}

fn write_bars(text: &mut String, verdicts: &[Verdict]) {
    text.push_str("\n| # | Bar | Asked | Found | |\n| --- | --- | --- | --- | --- |\n");
    let mut verdicts: Vec<_> = verdicts.iter().collect();
    verdicts.sort_by_key(|verdict| verdict.row);
    for verdict in verdicts {
        let found = match (verdict.value, &verdict.spread) {
            (Some(value), Some(spread)) if spread.rounds > 1 => {
                let (least, greatest) = (short(spread.least), short(spread.greatest));
                format!("{} ({least}–{greatest})", short(value))
            }
            (Some(value), _) => short(value),
            (None, _) => "–".to_owned(),
        };
        let limits: Vec<_> = verdict
            .limited_by
            .iter()
            .map(|limit| limit.name())
            .collect();
        let by = if limits.is_empty() { "" } else { " by " };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {found} | {}{by}{} |",
            verdict.row,
            cleaned(&verdict.bar.title),
            verdict.asked(),
            word(verdict.outcome),
            limits.join(", "),
        );
    }
}

fn write_probes(text: &mut String, summary: &Summary) {
    text.push_str("\n| The machine itself | |\n| --- | --- |\n");
    for figure in PROBE_FIGURES {
        if let Some(found) = summary.probe(figure.name) {
            let _ = writeln!(
                text,
                "| {} | {} |",
                figure.title,
                with_spread(found, figure.unit)
            );
        }
    }
}

fn write_commands(text: &mut String, results: &Results) {
    if results.runs.iter().all(|run| run.command.is_empty()) {
        return;
    }
    text.push_str("\nThe loads:\n\n");
    for case in results.suite.cases() {
        let run = results
            .runs
            .iter()
            .find(|run| run.case == case.id && !run.command.is_empty());
        if let Some(run) = run {
            let command = case.command_line(&run.command);
            let _ = writeln!(text, "- {}: `{command}`", case.id);
        }
    }
}

fn spread(found: &Spread) -> String {
    with_spread(found, "")
}

/// Text that does not end a cell.
fn cleaned(text: &str) -> String {
    text.replace('|', "\\|")
}

fn numbers(cores: &[usize]) -> String {
    let names: Vec<String> = cores.iter().map(ToString::to_string).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture;

    #[test]
    fn tables_have_as_many_cells_as_heads() {
        let text = markdown(&fixture::results());
        let mut heads = 0;
        for line in text.lines() {
            let cells = line.matches('|').count();
            if cells == 0 {
                heads = 0;
            } else {
                assert!(heads == 0 || heads == cells, "{line}");
                heads = cells;
            }
        }
        let ours = "| Millstream, fsync | 800 (760–840) | 0.50 (0.48–0.53) |";
        assert!(text.contains(ours), "{text}");
        assert!(text.contains("limited by the load"), "{text}");
        assert!(
            text.contains("- 1a: `millstream-bench load produce --size 1024`"),
            "{text}"
        );
    }
}
