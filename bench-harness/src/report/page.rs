//! One HTML file with everything in it: no script, nothing from elsewhere, light and dark by what
//! the reader's system says.

use super::changes;
use super::chart::with_spread;
use super::date::utc;
use super::html::Html;
use super::row;
use crate::compare::{
    Outcome, PROBE_FIGURES, Results, Sharing, Summary, Verdict, duration, short, verdicts,
};

const STYLE: &str = include_str!("style.css");

/// The page.
pub fn page(results: &Results, baseline: Option<&Results>) -> String {
    let summary = Summary::of(results);
    let verdicts = verdicts(results, &summary);
    let mut html = Html::default();
    html.raw("<!doctype html>\n");
    html.open("html", "lang=\"en\"");
    write_head(&mut html);
    html.open("body", "");
    write_beginning(&mut html, results, &verdicts);
    write_overview(&mut html, results, &verdicts);
    if let Some(baseline) = baseline {
        changes::write(&mut html, baseline, results);
    }
    let mut rows: Vec<_> = results.suite.rows.iter().collect();
    rows.sort_by_key(|row| row.number);
    for each in rows {
        row::write(&mut html, results, &summary, &verdicts, each);
    }
    write_probes(&mut html, &summary);
    write_conditions(&mut html, results);
    html.close();
    html.close();
    html.finish()
}

fn write_head(html: &mut Html) {
    html.open("head", "");
    html.raw("<meta charset=\"utf-8\"/>\n");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n");
    html.element("title", "", "Brokers side by side");
    html.raw("<style>\n");
    html.raw(STYLE);
    html.raw("</style>\n");
    html.close();
}

fn write_beginning(html: &mut Html, results: &Results, verdicts: &[Verdict]) {
    let machine = &results.machine;
    html.open("header", "");
    html.element("h1", "", "Brokers side by side");
    let took = results.ended_unix_ms.saturating_sub(results.began_unix_ms) as f64 / 1e3;
    let done = results.rounds_done();
    let rounds = match results.rounds {
        asked if asked == done => format!("{done} rounds in turns"),
        asked => format!("{done} of {asked} rounds in turns"),
    };
    let when = format!(
        "{}, suite {}, {rounds}, {}.",
        utc(results.began_unix_ms),
        results.suite.name,
        duration(took),
    );
    html.element("p", "class=\"soft\"", &when);
    let place = format!(
        "{}, {} cores, {} GB, Linux {}.",
        machine.processor,
        machine.cores,
        machine.memory_gb.round(),
        machine.kernel,
    );
    html.element("p", "class=\"soft\"", &place);
    html.open("ul", "class=\"counts\"");
    for (outcome, word) in [
        (Outcome::Met, "met"),
        (Outcome::Missed, "missed"),
        (Outcome::Limited, "limited by something else"),
        (Outcome::NotMeasured, "not measured"),
    ] {
        let count = verdicts
            .iter()
            .filter(|verdict| verdict.outcome == outcome)
            .count();
        if count > 0 {
            html.open("li", &format!("class=\"{}\"", class(outcome)));
            html.element("b", "", &count.to_string());
            html.text(word);
            html.close();
        }
    }
    html.close();
    html.open("ul", "class=\"notes\"");
    for note in &results.notes {
        html.element("li", "", note);
    }
    for run in results.failed() {
        let failure = run.failure.as_deref().unwrap_or_default();
        let text = format!(
            "Round {}, {}, case {} gave no figures: {failure}",
            run.round, run.broker, run.case
        );
        html.element("li", "", &text);
    }
    html.close();
    html.close();
}

fn write_overview(html: &mut Html, results: &Results, verdicts: &[Verdict]) {
    html.element("h2", "", "Rows");
    html.open("ul", "class=\"overview\"");
    let mut rows: Vec<_> = results.suite.rows.iter().collect();
    rows.sort_by_key(|row| row.number);
    for row in rows {
        html.open("li", "");
        html.element("span", "class=\"number\"", &row.number.to_string());
        html.element("a", &format!("href=\"#row-{}\"", row.number), &row.title);
        html.open("span", "class=\"chips\"");
        for outcome in [
            Outcome::Met,
            Outcome::Missed,
            Outcome::Limited,
            Outcome::NotMeasured,
        ] {
            let of_row = verdicts.iter().filter(|verdict| verdict.row == row.number);
            let count = of_row.filter(|verdict| verdict.outcome == outcome).count();
            if count > 0 {
                let text = format!("{count} {}", word(outcome));
                html.element("span", &format!("class=\"chip {}\"", class(outcome)), &text);
            }
        }
        html.close();
        html.close();
    }
    html.close();
}

fn write_probes(html: &mut Html, summary: &Summary) {
    html.element("h2", "", "What the machine itself gives");
    let text = "Measured in each round, before the brokers: the disk through the reactor's files \
                with blocks of 1 MiB, loopback by plain system calls.";
    html.element("p", "class=\"soft\"", text);
    html.open("div", "class=\"scroll\"");
    html.open("table", "");
    for figure in PROBE_FIGURES {
        let Some(spread) = summary.probe(figure.name) else {
            continue;
        };
        html.open("tr", "");
        html.element("td", "", figure.title);
        html.element("td", "", &with_spread(spread, figure.unit));
        html.close();
    }
    html.close();
    html.close();
}

fn write_conditions(html: &mut Html, results: &Results) {
    html.element("h2", "", "How it was measured");
    html.element("p", "", &results.suite.about);
    let text = "Brokers take turns: each is started with an empty folder on its cores, warmed up, \
                meets all of its cases, and is stopped before the next one starts. Figures are \
                medians over the rounds, with the least and the greatest.";
    html.element("p", "class=\"soft\"", text);
    let cores = |cores: &[usize]| {
        let names: Vec<String> = cores.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    let machine = &results.machine;
    html.open("dl", "");
    let mut told = |name: &str, text: &str| {
        html.element("dt", "", name);
        html.element("dd", "", text);
    };
    told("Cores of the brokers", &cores(&machine.broker_cores));
    told("Cores of the load", &cores(&machine.load_cores));
    told("TCP congestion control", &machine.congestion_control);
    for broker in &results.suite.brokers {
        let version = results.versions.get(&broker.id).map_or("", String::as_str);
        let sharing = match broker.cores {
            Sharing::Apart => "",
            Sharing::Shared => " It has all cores, and so has the load.",
        };
        let settings = match broker.set.is_empty() {
            true => "no settings of its own".to_owned(),
            false => broker.set.join(", "),
        };
        let text = format!("{}. Settings: {settings}.{sharing}", broker.flush);
        told(format!("{} {version}", broker.label).trim(), &text);
    }
    for (expression, value) in &results.worked_out {
        told(expression, &short(*value));
    }
    html.close();
}

/// An outcome in a word.
pub fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Met => "met",
        Outcome::Missed => "missed",
        Outcome::Limited => "limited",
        Outcome::NotMeasured => "not measured",
    }
}

/// The class of an outcome in the page's style.
pub fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Met => "met",
        Outcome::Missed => "missed",
        Outcome::Limited => "limited",
        Outcome::NotMeasured => "open",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{FIGURES, fixture};
    use crate::report::html;

    #[test]
    fn every_figure_is_on_the_page() {
        let results = fixture::results();
        let text = html::check(&page(&results, None));
        let summary = Summary::of(&results);
        let mut figures = 0;
        for case in results.suite.cases() {
            for broker in &case.brokers {
                for figure in FIGURES {
                    if let Some(spread) = summary.figure(&case.id, broker, figure.name) {
                        figures += 1;
                        for value in [spread.median, spread.least, spread.greatest] {
                            let value = short(value);
                            assert!(text.contains(&value), "{} {value}", figure.name);
                        }
                    }
                }
            }
        }
        assert!(figures > 40, "{figures}");
        for figure in PROBE_FIGURES {
            let median = summary.probe(figure.name).unwrap().median;
            assert!(text.contains(&short(median)), "{}", figure.name);
        }
        for verdict in verdicts(&results, &summary) {
            assert!(text.contains(&verdict.bar.title), "{}", verdict.bar.title);
            assert!(text.contains(&verdict.asked()));
        }
        for words in [
            "1 met",
            "1 missed",
            "1 limited",
            "1 not measured",
            "1 KiB, <1> partition",
            "For tests <&> nothing else.",
            "A note.",
            "flushed before the answer",
            "4.3.1",
            "the load",
            "cubic",
            "a=b",
            "2026-09-21",
            "Where Millstream, fsync spends its processor time",
            "Log::append: 100.0 %",
        ] {
            assert!(text.contains(words), "{words}");
        }
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let text = page(&fixture::results(), Some(&fixture::results()));
        html::check(&text);
        for outside in ["<script", "http:", "https:", "src=", "@import", "url("] {
            assert!(!text.contains(outside), "{outside}");
        }
        assert!(text.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn what_failed_is_told() {
        let mut results = fixture::results();
        results.runs[0].load = None;
        results.runs[0].failure = Some("the broker <went> away".to_owned());
        let text = html::check(&page(&results, None));
        assert!(text.contains("the broker <went> away"), "{text}");
        results.runs.clear();
        results.probes.clear();
        html::check(&page(&results, None));
    }
}
