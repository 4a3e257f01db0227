//! Charts as SVG: lines over time or percentiles, and bars with their spread.
//!
//! All are 360 units wide, so that their text keeps its size on a phone; colours are classes of the
//! page's style, one for each broker, with a dash of its own so that colour is not all there is.

use std::fmt::Write;

use super::html::escape;
use crate::compare::{Spread, short, trimmed};

/// The width of a chart.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 200.0;
/// The plot's margins.
const LEFT: f64 = 46.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 28.0;
/// The height of one broker's bar with its text.
const BAR_HEIGHT: f64 = 34.0;
/// About how many marks an axis has.
const MARKS: f64 = 4.0;

/// A line.
#[derive(Debug, Clone)]
pub struct Line {
    /// The broker's number, which is its colour.
    pub colour: usize,
    /// Drawn behind the others.
    pub faint: bool,
    /// Where it goes.
    pub points: Vec<(f64, f64)>,
}

/// What lies across.
#[derive(Debug, Clone, Copy)]
pub enum Across<'a> {
    /// Seconds.
    Seconds,
    /// Names, at 0, 1, 2, and so on.
    Names(&'a [&'a str]),
}

/// What goes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From zero.
    Linear,
    /// By powers of ten.
    Logarithmic,
}

/// Lines; none without a point.
pub fn lines(title: &str, lines: &[Line], across: Across<'_>, scale: Scale) -> Option<String> {
    let usable = |value: f64| value.is_finite() && (scale == Scale::Linear || value > 0.0);
    let points = || {
        lines
            .iter()
            .flat_map(|line| &line.points)
            .filter(|(_, y)| usable(*y))
    };
    let (mut least, mut greatest) = points()
        .fold((f64::INFINITY, 0.0_f64), |(low, high), (_, y)| {
            (low.min(*y), high.max(*y))
        });
    let last = points().fold(0.0_f64, |last, (x, _)| last.max(*x));
    if !least.is_finite() {
        return None;
    }
    let marks = match scale {
        Scale::Linear => linear_marks(greatest),
        Scale::Logarithmic => logarithmic_marks(least, greatest),
    };
    least = if scale == Scale::Linear {
        0.0
    } else {
        least.min(marks[0])
    };
    greatest = greatest.max(*marks.last()?);
    let first = match across {
        Across::Seconds => points().fold(last, |first, (x, _)| first.min(*x)),
        Across::Names(_) => 0.0,
    };
    let plot = Plot {
        first,
        last,
        least,
        greatest,
        scale,
    };
    let mut svg = start(title, HEIGHT);
    for mark in &marks {
        let y = plot.y(*mark);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            trimmed(*mark),
        );
    }
    write_across(&mut svg, &plot, across);
    for line in lines
        .iter()
        .filter(|line| line.faint)
        .chain(lines.iter().filter(|l| !l.faint))
    {
        write_line(&mut svg, &plot, line, across, &usable);
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// A bar for each broker: its number, its name, and the figure.
pub fn bars(title: &str, unit: &str, figures: &[(usize, &str, &Spread)]) -> Option<String> {
    let greatest = figures
        .iter()
        .map(|(_, _, spread)| spread.greatest)
        .fold(0.0, f64::max);
    if greatest <= 0.0 {
        return None;
    }
    let mut svg = start(title, BAR_HEIGHT * figures.len() as f64 + 4.0);
    for (row, (colour, name, spread)) in figures.iter().enumerate() {
        let top = BAR_HEIGHT * row as f64;
        let along = |value: f64| value.max(0.0) / greatest * (WIDTH - 2.0);
        let (text, middle) = (top + 12.0, top + 23.0);
        let _ = write!(
            svg,
            "<text x=\"0\" y=\"{text}\">{}</text>\
             <text class=\"value\" x=\"{WIDTH}\" y=\"{text}\" text-anchor=\"end\">{}</text>\
             <rect class=\"track\" x=\"0\" y=\"{:.1}\" width=\"{WIDTH}\" height=\"10\" rx=\"2\"/>\
             <rect class=\"f{}\" x=\"0\" y=\"{:.1}\" width=\"{:.1}\" height=\"10\" rx=\"2\"/>",
            escape(name),
            escape(&with_spread(spread, unit)),
            middle - 5.0,
            colour % COLOURS,
            middle - 5.0,
            along(spread.median).max(1.0),
        );
        if spread.greatest > spread.least {
            let (low, high) = (along(spread.least) + 1.0, along(spread.greatest) + 1.0);
            let _ = write!(
                svg,
                "<path class=\"whisker\" d=\"M{low:.1} {:.1}V{:.1}M{low:.1} {middle:.1}H{high:.1}\
                 M{high:.1} {:.1}V{:.1}\"/>",
                middle - 4.0,
                middle + 4.0,
                middle - 4.0,
                middle + 4.0,
            );
        }
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// How many colours the page's style has.
pub const COLOURS: usize = 7;

/// A figure with its unit, and least and greatest where they differ.
pub fn with_spread(spread: &Spread, unit: &str) -> String {
    let unit = if unit.is_empty() {
        String::new()
    } else {
        format!(" {unit}")
    };
    let (median, least) = (short(spread.median), short(spread.least));
    let greatest = short(spread.greatest);
    if least == greatest {
        format!("{median}{unit}")
    } else {
        format!("{median}{unit} ({least}–{greatest})")
    }
}

struct Plot {
    first: f64,
    last: f64,
    least: f64,
    greatest: f64,
    scale: Scale,
}

impl Plot {
    fn x(&self, value: f64) -> f64 {
        let span = (self.last - self.first).max(f64::MIN_POSITIVE);
        LEFT + (value - self.first) / span * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.least) / (self.greatest - self.least).max(1e-12),
            Scale::Logarithmic => {
                let span = (self.greatest / self.least).log10().max(1e-12);
                (value / self.least).log10() / span
            }
        };
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    }
}

fn start(title: &str, height: f64) -> String {
    let title = escape(title);
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\
         <title>{title}</title>"
    )
}

fn write_across(svg: &mut String, plot: &Plot, across: Across<'_>) {
    let y = HEIGHT - BOTTOM + 16.0;
    let mut mark = |value: f64, text: &str| {
        let x = plot.x(value);
        let anchor = if x > WIDTH - RIGHT - 20.0 {
            "end"
        } else {
            "middle"
        };
        let x = if anchor == "end" { WIDTH } else { x };
        let _ = write!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    };
    match across {
        Across::Seconds => {
            let step = nice(((plot.last - plot.first) / 5.0).max(1.0)).ceil();
            let mut second = (plot.first / step).ceil() * step;
            while second + step <= plot.last {
                mark(second, &format!("{second:.0}"));
                second += step;
            }
            mark(plot.last, &format!("{:.0} s", plot.last));
        }
        Across::Names(names) => {
            for (n, name) in names.iter().enumerate().take(plot.last as usize + 1) {
                mark(n as f64, &escape(name));
            }
        }
    }
}

fn write_line(
    svg: &mut String,
    plot: &Plot,
    line: &Line,
    across: Across<'_>,
    usable: &dyn Fn(f64) -> bool,
) {
    let places = line.points.iter().filter(|(_, y)| usable(*y));
    let places: Vec<(f64, f64)> = places.map(|(x, y)| (plot.x(*x), plot.y(*y))).collect();
    let faint = if line.faint { " faint" } else { "" };
    let colour = line.colour % COLOURS;
    svg.push_str("<polyline class=\"");
    let _ = write!(svg, "l{colour}{faint}\" points=\"");
    for (x, y) in &places {
        let _ = write!(svg, "{x:.1},{y:.1} ");
    }
    svg.push_str("\"/>");
    if matches!(across, Across::Names(_)) && !line.faint {
        for (x, y) in &places {
            let _ = write!(
                svg,
                "<circle class=\"f{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"
            );
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least as large.
fn nice(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let fits = |step: &&f64| power * **step >= value * 0.999;
    power * steps.iter().find(fits).unwrap_or(&10.0)
}

fn linear_marks(greatest: f64) -> Vec<f64> {
    let step = nice((greatest / MARKS).max(1e-9));
    let count = (greatest / step).ceil().max(1.0) as usize;
    (0..=count).map(|n| n as f64 * step).collect()
}

/// Powers of ten around what there is; with 2 and 5 between where there are few.
fn logarithmic_marks(least: f64, greatest: f64) -> Vec<f64> {
    let (low, high) = (least.log10().floor() as i32, greatest.log10().ceil() as i32);
    let steps: &[f64] = if high - low <= 2 {
        &[1.0, 2.0, 5.0]
    } else {
        &[1.0]
    };
    let marks =
        (low..=high).flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
    let marks: Vec<f64> = marks.collect();
    let below = marks
        .iter()
        .rposition(|mark| *mark <= least * 1.001)
        .unwrap_or(0);
    let above = marks.iter().position(|mark| *mark >= greatest * 0.999);
    marks[below..=above.unwrap_or(marks.len() - 1)].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::html;

    #[test]
    fn marks_hold_what_there_is() {
        assert_eq!(linear_marks(830.0), [0.0, 500.0, 1000.0]);
        assert_eq!(linear_marks(400.0), [0.0, 100.0, 200.0, 300.0, 400.0]);
        assert_eq!(
            logarithmic_marks(0.3, 900.0),
            [0.1, 1.0, 10.0, 100.0, 1000.0]
        );
        assert_eq!(logarithmic_marks(2.5, 4.0), [2.0, 5.0]);
        assert_eq!(logarithmic_marks(1.0, 1.0), [1.0]);
    }

    #[test]
    fn lines_stay_within_their_chart() {
        let line = |points: &[(f64, f64)]| Line {
            colour: 9,
            faint: false,
            points: points.to_vec(),
        };
        let drawn = [
            line(&[(0.0, 0.2), (1.0, 80.0)]),
            line(&[(0.0, 0.0), (1.0, f64::NAN)]),
        ];
        let names = Across::Names(&["50 %", "<99> %"]);
        let svg = lines("p & q", &drawn, names, Scale::Logarithmic).unwrap();
        let text = html::check(&svg);
        assert!(text.contains("p & q") && text.contains("<99> %"), "{text}");
        for point in svg.split("points=\"").skip(1).flat_map(|part| {
            part.split('"')
                .next()
                .unwrap()
                .split_whitespace()
                .collect::<Vec<_>>()
        }) {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!(
                (0.0..=WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y),
                "{point}"
            );
        }
        assert_eq!(
            lines("", &[line(&[])], Across::Seconds, Scale::Linear),
            None
        );
        let single = line(&[(1.0, 0.0)]);
        assert!(lines("", &[single], Across::Seconds, Scale::Linear).is_some());
    }

    #[test]
    fn bars_tell_their_figure_and_its_spread() {
        let spread = Spread {
            median: 0.5,
            least: 0.4,
            greatest: 0.8,
            rounds: 3,
        };
        let svg = bars("CPU", "s", &[(0, "ours", &spread)]).unwrap();
        assert!(html::check(&svg).contains("0.50 s (0.40–0.80)"));
        assert_eq!(bars("CPU", "s", &[]), None);
    }
}
