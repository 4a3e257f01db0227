//! A row on the page: its bars, then charts and figures of each case.

use super::chart::{self, Across, COLOURS, Line, Scale, with_spread};
use super::flame::flame_graph;
use super::html::Html;
use super::page::{class, word};
use crate::compare::{
    Case, FIGURES, Limit, PERCENTILES, Results, Row, Second, Spread, Summary, Verdict, short,
};

/// Figures that are shown as bars, with what the chart is called.
const BARS: &[(&str, &str)] = &[
    ("mb_s", "Throughput"),
    ("cpu_s_per_gb", "Broker CPU for each GB"),
    ("connections_s", "Connections opened"),
    ("catch_up_mb_s", "Catch-up reader"),
    ("resident_mb", "Broker memory, resident"),
];

/// One that is shown where a bar is about it.
const RECORDS_BAR: (&str, &str) = ("records_per_cpu_s", "Records for each broker CPU second");

/// A row with all that belongs to it.
pub fn write(
    html: &mut Html,
    results: &Results,
    summary: &Summary,
    verdicts: &[Verdict],
    row: &Row,
) {
    html.open("section", &format!("id=\"row-{}\"", row.number));
    html.element("h2", "", &format!("{}. {}", row.number, row.title));
    let of_row: Vec<_> = verdicts
        .iter()
        .filter(|verdict| verdict.row == row.number)
        .collect();
    if !of_row.is_empty() {
        html.open("ul", "class=\"bars\"");
        for verdict in of_row {
            write_verdict(html, verdict);
        }
        html.close();
    }
    for case in &row.cases {
        write_case(html, results, summary, row, case);
    }
    html.close();
}

fn write_verdict(html: &mut Html, verdict: &Verdict) {
    html.open("li", &format!("class=\"{}\"", class(verdict.outcome)));
    html.element("div", "", &verdict.bar.title);
    html.open("div", "class=\"found\"");
    html.element("b", "", &verdict.value.map_or("–".to_owned(), short));
    if let Some(spread) = verdict.spread.as_ref().filter(|spread| spread.rounds > 1) {
        let text = format!("{}–{}", short(spread.least), short(spread.greatest));
        html.element("small", "", &text);
    }
    html.element(
        "span",
        "class=\"soft\"",
        &format!("asked {}", verdict.asked()),
    );
    let mut outcome = word(verdict.outcome).to_owned();
    if !verdict.limited_by.is_empty() {
        outcome = format!("{outcome}; the limit: {}", limit_names(&verdict.limited_by));
    }
    html.element(
        "span",
        &format!("class=\"chip {}\"", class(verdict.outcome)),
        &outcome,
    );
    html.close();
    write_meter(html, verdict);
    html.close();
}

/// The value beside what is asked, which is in the middle.
fn write_meter(html: &mut Html, verdict: &Verdict) {
    let asked = verdict.bar.at_least.or(verdict.bar.at_most).unwrap_or(0.0);
    let Some(value) = verdict.value.filter(|_| asked > 0.0) else {
        return;
    };
    let along = (value / asked * 50.0).clamp(0.5, 100.0);
    let outcome = class(verdict.outcome);
    html.raw(&format!(
        "<svg viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect x=\"0\" y=\"1\" width=\"100\" height=\"6\" fill=\"var(--rule)\"/>\
         <rect x=\"0\" y=\"1\" width=\"{along:.1}\" height=\"6\" fill=\"var(--{outcome})\"/>\
         <rect x=\"49.7\" y=\"0\" width=\"0.6\" height=\"8\" fill=\"var(--ink)\"/></svg>\n"
    ));
}

fn write_case(html: &mut Html, results: &Results, summary: &Summary, row: &Row, case: &Case) {
    html.element("h3", "", &format!("{}: {}", case.id, case.title));
    let brokers = brokers(results, summary, case);
    if brokers.is_empty() {
        html.element("p", "class=\"soft\"", "Nothing was measured.");
        return;
    }
    write_legend(html, summary, case, &brokers);
    html.open("div", "class=\"charts\"");
    let about_records = row.bars.iter().any(|bar| bar.of.contains(RECORDS_BAR.0));
    for (name, title) in BARS.iter().chain(about_records.then_some(&RECORDS_BAR)) {
        write_bars(html, summary, case, &brokers, name, title);
    }
    let throughput = |second: &Second| {
        let bytes = [second.produced_bytes, second.consumed_bytes];
        bytes
            .iter()
            .any(Option::is_some)
            .then(|| bytes.iter().flatten().sum::<f64>() / 1e6)
    };
    write_series(
        html,
        results,
        case,
        &brokers,
        "Throughput",
        "MB/s",
        Scale::Linear,
        &throughput,
    );
    let from = results.runs_of(&case.id, brokers[0].id).find_map(|run| {
        let load = run.load.as_ref()?;
        load.latency.as_deref()
    });
    write_percentiles(html, summary, case, &brokers, from.unwrap_or_default());
    let p99 = |second: &Second| second.p99_us.map(|us| us / 1e3);
    let title = "p99 of each second";
    write_series(
        html,
        results,
        case,
        &brokers,
        title,
        "ms",
        Scale::Logarithmic,
        &p99,
    );
    html.close();
    write_figures(html, results, summary, case, &brokers);
    write_profiles(html, results, case, &brokers);
}

/// A broker that was measured: its colour, its name and its label.
struct Measured<'a> {
    colour: usize,
    id: &'a str,
    label: &'a str,
    flush: &'a str,
}

fn brokers<'a>(results: &'a Results, summary: &Summary, case: &'a Case) -> Vec<Measured<'a>> {
    let all = results.suite.brokers.iter().enumerate();
    let of_case = all.filter(|(_, broker)| case.brokers.contains(&broker.id));
    let measured = of_case.filter(|(_, broker)| summary.figures(&case.id, &broker.id).is_some());
    let named = measured.map(|(colour, broker)| Measured {
        colour,
        id: &broker.id,
        label: &broker.label,
        flush: &broker.flush,
    });
    named.collect()
}

/// Who is who, when it answers, and what was its limit.
fn write_legend(html: &mut Html, summary: &Summary, case: &Case, brokers: &[Measured<'_>]) {
    html.open("ul", "class=\"legend\"");
    for broker in brokers {
        html.open("li", "");
        html.raw(&format!(
            "<svg viewBox=\"0 0 26 10\" aria-hidden=\"true\">\
             <line class=\"l{}\" x1=\"0\" x2=\"26\" y1=\"5\" y2=\"5\"/></svg>",
            broker.colour % COLOURS
        ));
        html.text(broker.label);
        let mut about = broker.flush.to_owned();
        let limits = summary.limit_names(&case.id, broker.id);
        if !limits.is_empty() {
            about = format!("{about}; the limit: {limits}");
        }
        html.element("span", "class=\"soft\"", &format!(" {about}"));
        html.close();
    }
    html.close();
}

fn limit_names(limits: &[Limit]) -> String {
    let names: Vec<_> = limits.iter().map(|limit| limit.name()).collect();
    names.join(", ")
}

fn write_figure(html: &mut Html, title: &str, unit: &str, svg: &str) {
    html.open("figure", "");
    html.open("figcaption", "");
    html.text(title);
    html.element("span", "", &format!(" {unit}"));
    html.close();
    html.raw(svg);
    html.close();
}

fn write_bars(
    html: &mut Html,
    summary: &Summary,
    case: &Case,
    brokers: &[Measured<'_>],
    name: &str,
    title: &str,
) {
    let figure = FIGURES.iter().find(|figure| figure.name == name);
    let unit = figure.map_or("", |figure| figure.unit);
    let found: Vec<(usize, &str, &Spread)> = brokers
        .iter()
        .filter_map(|broker| {
            let spread = summary.figure(&case.id, broker.id, name)?;
            Some((broker.colour, broker.label, spread))
        })
        .collect();
    if let Some(svg) = chart::bars(title, unit, &found) {
        write_figure(html, title, unit, &svg);
    }
}

/// What each second had, of all rounds; the round in the middle stands out.
#[expect(
    clippy::too_many_arguments,
    reason = "each says one thing about the chart"
)]
fn write_series(
    html: &mut Html,
    results: &Results,
    case: &Case,
    brokers: &[Measured<'_>],
    title: &str,
    unit: &str,
    scale: Scale,
    of: &dyn Fn(&Second) -> Option<f64>,
) {
    let mut lines = Vec::new();
    for broker in brokers {
        let mut rounds: Vec<(f64, Vec<(f64, f64)>)> = results
            .runs_of(&case.id, broker.id)
            .filter_map(|run| {
                let seconds = run.load.as_ref()?.series.iter();
                let points = seconds.filter_map(|second| Some((second.second, of(second)?)));
                let points: Vec<(f64, f64)> = points.collect();
                let mean = points.iter().map(|(_, y)| y).sum::<f64>() / points.len() as f64;
                (points.len() > 1).then_some((mean, points))
            })
            .collect();
        rounds.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let middle = rounds.len().saturating_sub(1) / 2;
        lines.extend(rounds.into_iter().enumerate().map(|(n, (_, points))| Line {
            colour: broker.colour,
            faint: n != middle,
            points,
        }));
    }
    if let Some(svg) = chart::lines(title, &lines, Across::Seconds, scale) {
        let logarithmic = scale == Scale::Logarithmic;
        let scale = if logarithmic {
            ", log scale"
        } else {
            " over time"
        };
        let unit = format!("{unit}{scale}");
        write_figure(html, title, &unit, &svg);
    }
}

fn write_percentiles(
    html: &mut Html,
    summary: &Summary,
    case: &Case,
    brokers: &[Measured<'_>],
    from: &str,
) {
    let names: Vec<&str> = PERCENTILES.iter().map(|(_, title)| *title).collect();
    let lines: Vec<Line> = brokers
        .iter()
        .map(|broker| Line {
            colour: broker.colour,
            faint: false,
            points: PERCENTILES
                .iter()
                .enumerate()
                .filter_map(|(n, (name, _))| {
                    let spread = summary.figure(&case.id, broker.id, name)?;
                    Some((n as f64, spread.median))
                })
                .collect(),
        })
        .collect();
    let across = Across::Names(&names);
    if let Some(svg) = chart::lines("Latency", &lines, across, Scale::Logarithmic) {
        write_figure(html, "Latency", &format!("ms {from}, log scale"), &svg);
    }
}

fn write_figures(
    html: &mut Html,
    results: &Results,
    summary: &Summary,
    case: &Case,
    brokers: &[Measured<'_>],
) {
    html.open("details", "");
    html.element("summary", "", "All figures, and the command");
    html.open("div", "class=\"scroll\"");
    html.open("table", "");
    html.open("tr", "");
    html.element("th", "", "");
    for broker in brokers {
        html.element("th", "", broker.label);
    }
    html.close();
    for figure in FIGURES {
        let spread = |broker: &Measured<'_>| summary.figure(&case.id, broker.id, figure.name);
        if brokers.iter().all(|broker| spread(broker).is_none()) {
            continue;
        }
        html.open("tr", "");
        let unit = if figure.unit.is_empty() { "" } else { ", " };
        html.element("td", "", &format!("{}{unit}{}", figure.title, figure.unit));
        for broker in brokers {
            html.open("td", "");
            match spread(broker) {
                None => html.text("–"),
                Some(spread) => write_spread(html, spread),
            }
            html.close();
        }
        html.close();
    }
    html.open("tr", "");
    html.element("td", "", "What was the limit");
    for broker in brokers {
        let text = summary.limit_names(&case.id, broker.id);
        html.element("td", "", &text);
    }
    html.close();
    html.close();
    html.close();
    write_commands(html, results, case);
    html.close();
}

/// Where the brokers' processor time went.
fn write_profiles(html: &mut Html, results: &Results, case: &Case, brokers: &[Measured<'_>]) {
    let of_case = results
        .profiles
        .iter()
        .filter(|profile| profile.case == case.id);
    for profile in of_case {
        let broker = brokers.iter().find(|broker| broker.id == profile.broker);
        let label = broker.map_or(profile.broker.as_str(), |broker| broker.label);
        let title = format!("Where {label} spends its processor time");
        let Some(svg) = flame_graph(&title, &profile.stacks) else {
            continue;
        };
        html.open("details", "");
        html.element("summary", "", &title);
        let samples: u64 = profile.stacks.values().sum();
        let about = format!(
            "{samples} samples of its threads, those of the kernel's own threads not among them. \
             Each frame is as wide as its share; what called is below what it called. The kernel's \
             frames have the other colour."
        );
        html.element("p", "class=\"soft\"", &about);
        html.open("div", "class=\"scroll\"");
        html.raw(&svg);
        html.close();
        html.close();
    }
}

/// A figure, with least and greatest below it.
pub fn write_spread(html: &mut Html, spread: &Spread) {
    let whole = with_spread(spread, "");
    match whole.split_once(" (") {
        None => html.text(&whole),
        Some((median, rest)) => {
            html.text(median);
            html.element("small", "", rest.trim_end_matches(')'));
        }
    }
}

fn write_commands(html: &mut Html, results: &Results, case: &Case) {
    for load in &case.prepare {
        html.open("p", "class=\"soft\"");
        html.text("Before: ");
        html.element("code", "", &format!("millstream-bench load {load}"));
        html.close();
    }
    let run = results
        .runs
        .iter()
        .find(|run| run.case == case.id && !run.command.is_empty());
    if let Some(run) = run {
        html.open("p", "class=\"soft\"");
        html.element("code", "", &case.command_line(&run.command));
        html.close();
    }
}
