//! The text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write as _};

use millstream_net::{BUCKET_BOUNDS_US, Histogram};

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics, written one family after another.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a counter.
    pub fn counter(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    /// Begins a value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// Begins a histogram.
    pub fn histogram(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    /// The whole text.
    pub fn into_text(self) -> String {
        self.text
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) -> Family<'_> {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        Family {
            name: name.to_owned(),
            exposition: self,
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a string takes what is written");
    }
}

/// One metric with its samples.
pub struct Family<'a> {
    name: String,
    exposition: &'a mut Exposition,
}

impl Family<'_> {
    /// A sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        let (name, labels) = (&self.name, Labels(labels));
        self.exposition.line(format_args!("{name}{labels} {value}"));
        self
    }

    /// The samples of a histogram, with every bucket: sums over nodes and rates over time need
    /// the same ones in each.
    pub fn durations(&mut self, labels: &[(&str, &str)], histogram: &Histogram) -> &mut Self {
        let name = self.name.clone();
        let mut below = 0;
        for (bound, count) in BUCKET_BOUNDS_US.iter().zip(histogram.counts) {
            below += count;
            let bound = seconds(*bound);
            let labels = with(labels, ("le", &bound));
            let labels = Labels(&labels);
            self.exposition
                .line(format_args!("{name}_bucket{labels} {below}"));
        }
        let count = histogram.count();
        let all = with(labels, ("le", "+Inf"));
        let (all, labels) = (Labels(&all), Labels(labels));
        let sum = seconds(histogram.sum_us);
        self.exposition
            .line(format_args!("{name}_bucket{all} {count}"));
        self.exposition
            .line(format_args!("{name}_sum{labels} {sum}"));
        self.exposition
            .line(format_args!("{name}_count{labels} {count}"));
        self
    }
}

fn with<'a>(labels: &[(&'a str, &'a str)], more: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
    labels.iter().copied().chain([more]).collect()
}

fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl Display for Labels<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        f.write_char('{')?;
        for (at, (name, value)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{name}=\"")?;
            for character in value.chars() {
                match character {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    other => f.write_char(other)?,
                }
            }
            f.write_char('"')?;
        }
        f.write_char('}')
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn families_have_help_a_type_and_escaped_labels() {
        let mut text = Exposition::default();
        text.gauge("a", "What it is.")
            .sample(&[], 1)
            .sample(&[("b", "c\"\\\n"), ("d", "e")], 2);
        assert_eq!(
            text.into_text(),
            "# HELP a What it is.\n# TYPE a gauge\na 1\na{b=\"c\\\"\\\\\\n\",d=\"e\"} 2\n"
        );
    }

    #[test]
    fn buckets_are_cumulative_and_in_seconds() {
        let mut histogram = Histogram::default();
        for us in [10, 20, 30_000_000] {
            histogram.record(Duration::from_micros(us));
        }
        let mut text = Exposition::default();
        text.histogram("h", "x")
            .durations(&[("api", "Fetch")], &histogram);
        let text = text.into_text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..2], ["# HELP h x", "# TYPE h histogram"]);
        assert_eq!(
            lines[2..5],
            [
                "h_bucket{api=\"Fetch\",le=\"0.000016\"} 1",
                "h_bucket{api=\"Fetch\",le=\"0.000032\"} 2",
                "h_bucket{api=\"Fetch\",le=\"0.000064\"} 2",
            ]
        );
        assert_eq!(
            lines[2 + BUCKET_BOUNDS_US.len()..],
            [
                "h_bucket{api=\"Fetch\",le=\"+Inf\"} 3",
                "h_sum{api=\"Fetch\"} 30.000030",
                "h_count{api=\"Fetch\"} 3",
            ]
        );
    }
}
