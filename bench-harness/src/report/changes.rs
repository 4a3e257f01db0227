//! An earlier comparison beside this one, on the page.

use super::date::utc;
use super::html::Html;
use super::row::write_spread;
use crate::compare::{Change, Comparison, Results, compare_with_baseline};

/// What has changed beyond the noise, and all the rest folded away.
pub fn write(html: &mut Html, baseline: &Results, results: &Results) {
    let all = compare_with_baseline(baseline, results);
    html.element("h2", "", "Beside an earlier comparison");
    let text = format!(
        "That of {}. A figure has changed when the rounds of then and of now do not overlap; with \
         fewer than three rounds nothing is called a change.",
        utc(baseline.began_unix_ms)
    );
    html.element("p", "class=\"soft\"", &text);
    let (changed, rest): (Vec<_>, Vec<_>) = all.iter().partition(|found| is_change(found.change));
    if changed.is_empty() {
        html.element("p", "", "Nothing has changed beyond the noise.");
    } else {
        write_table(html, &changed);
    }
    html.open("details", "");
    let text = format!(
        "{} figures within the noise, or with too few rounds",
        rest.len()
    );
    html.element("summary", "", &text);
    write_table(html, &rest);
    html.close();
}

fn write_table(html: &mut Html, found: &[&Comparison]) {
    html.open("div", "class=\"scroll\"");
    html.open("table", "");
    html.open("tr", "");
    for title in ["", "Then", "Now", ""] {
        html.element("th", "", title);
    }
    html.close();
    for comparison in found {
        html.open("tr", "");
        html.open("td", "");
        html.text(comparison.title);
        let unit = if comparison.unit.is_empty() { "" } else { ", " };
        html.text(&format!("{unit}{}", comparison.unit));
        let place = format!("{} {}", comparison.case, comparison.broker);
        html.element("small", "", &place);
        html.close();
        for spread in [&comparison.then, &comparison.now] {
            html.open("td", "");
            write_spread(html, spread);
            html.close();
        }
        html.open("td", "");
        html.text(&format!("{:+.1} %", comparison.percent()));
        let class = match comparison.change {
            Change::Better => "met",
            Change::Worse => "missed",
            Change::Other | Change::Noise | Change::TooFewRounds => "open",
        };
        let attributes = format!("class=\"chip {class}\"");
        html.element("small", &attributes, word(comparison.change));
        html.close();
        html.close();
    }
    html.close();
    html.close();
}

/// Whether it lies outside the noise.
pub fn is_change(change: Change) -> bool {
    matches!(change, Change::Better | Change::Worse | Change::Other)
}

/// A change in a word.
pub fn word(change: Change) -> &'static str {
    match change {
        Change::Better => "better",
        Change::Worse => "worse",
        Change::Other => "changed",
        Change::Noise => "noise",
        Change::TooFewRounds => "too few rounds",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture;
    use crate::report::html;

    #[test]
    fn changes_stand_out_from_the_noise() {
        let then = fixture::results();
        let now = fixture::with_cpu_times(&then, 3.0);
        let mut written = Html::default();
        write(&mut written, &then, &now);
        let text = html::check(&written.finish());
        assert!(
            text.contains("worse") && text.contains("+200.0 %"),
            "{text}"
        );
        let mut written = Html::default();
        write(&mut written, &then, &then);
        let text = html::check(&written.finish());
        assert!(
            text.contains("Nothing has changed beyond the noise."),
            "{text}"
        );
    }
}
