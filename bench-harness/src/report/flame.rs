//! A flame graph: the wider a frame, the more samples had it on their stack. What called is below
//! what it called.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::html::escape;
use crate::compare::KERNEL_MARK;

/// Of the drawing, in its own units; a page may scroll it.
const WIDTH: f64 = 1000.0;
/// Of a frame.
const ROW: f64 = 16.0;
/// Of a letter, about.
const LETTER: f64 = 6.0;
/// Narrower frames are left out.
const NARROWEST: f64 = 1.0;

/// A frame with all that it called.
#[derive(Default)]
struct Frame<'a> {
    samples: u64,
    called: BTreeMap<&'a str, Frame<'a>>,
}

/// Draws folded stacks; nothing if there are none.
pub fn flame_graph(title: &str, stacks: &BTreeMap<String, u64>) -> Option<String> {
    let mut root = Frame::default();
    for (stack, samples) in stacks {
        root.samples += samples;
        let mut frame = &mut root;
        for name in stack.split(';') {
            frame = frame.called.entry(name).or_default();
            frame.samples += samples;
        }
    }
    if root.samples == 0 {
        return None;
    }
    let scale = WIDTH / root.samples as f64;
    let height = root.depth(scale) as f64 * ROW;
    let title = escape(title);
    let mut svg = format!(
        "<svg class=\"flame\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{title}\">"
    );
    let drawing = Drawing {
        scale,
        height,
        all: root.samples,
    };
    drawing.write_called(&mut svg, &root, 0.0, 1);
    svg.push_str("</svg>\n");
    Some(svg)
}

impl Frame<'_> {
    /// How many rows it takes that are drawn.
    fn depth(&self, scale: f64) -> usize {
        let called = self.called.values();
        let drawn = called.filter(|frame| frame.samples as f64 * scale >= NARROWEST);
        drawn.map(|frame| 1 + frame.depth(scale)).max().unwrap_or(0)
    }
}

struct Drawing {
    scale: f64,
    height: f64,
    all: u64,
}

impl Drawing {
    fn write_called(&self, svg: &mut String, frame: &Frame<'_>, mut x: f64, row: usize) {
        for (name, called) in &frame.called {
            let width = called.samples as f64 * self.scale;
            if width >= NARROWEST {
                self.write_frame(svg, name, called.samples, x, row);
                self.write_called(svg, called, x, row + 1);
            }
            x += width;
        }
    }

    fn write_frame(&self, svg: &mut String, name: &str, samples: u64, x: f64, row: usize) {
        let width = samples as f64 * self.scale;
        let y = self.height - row as f64 * ROW;
        let share = samples as f64 / self.all as f64 * 100.0;
        let (name, class) = match name.strip_suffix(KERNEL_MARK) {
            Some(name) => (name, "f0"),
            None => (name, "f1"),
        };
        let _ = write!(
            svg,
            "<g><title>{}: {share:.1} %</title><rect class=\"{class}\" x=\"{x:.1}\" y=\"{y}\" \
             width=\"{width:.1}\" height=\"{ROW}\"/>",
            escape(name)
        );
        let letters = ((width - LETTER) / LETTER).max(0.0) as usize;
        let label: String = last_parts(name).chars().take(letters).collect();
        if letters > 2 {
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + LETTER / 2.0,
                y + ROW - 4.5,
                escape(&label)
            );
        }
        svg.push_str("</g>");
    }
}

/// The last two parts of a path, such as `Log::append`, without what stands in angle brackets.
fn last_parts(name: &str) -> String {
    let mut depth = 0_usize;
    let mut plain = String::new();
    for c in name.replace("->", "").chars() {
        match c {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    let parts = plain.split("::").filter(|part| !part.is_empty());
    let parts: Vec<&str> = parts.collect();
    if parts.is_empty() {
        return name.to_owned();
    }
    parts[parts.len().saturating_sub(2)..].join("::")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::html;

    fn stacks(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
        let owned = of
            .iter()
            .map(|(stack, count)| ((*stack).to_owned(), *count));
        owned.collect()
    }

    #[test]
    fn frames_are_as_wide_as_their_share() {
        let stacks = stacks(&[
            ("main;poll;tcp_sendmsg_[k]", 60),
            ("main;poll", 15),
            ("main;<rare & slow>", 25),
        ]);
        let svg = flame_graph("produce", &stacks).unwrap();
        let text = html::check(&svg);
        for told in [
            "main: 100.0 %",
            "poll: 75.0 %",
            "tcp_sendmsg: 60.0 %",
            "<rare & slow>: 25.0 %",
        ] {
            assert!(text.contains(told), "{told} in {text}");
        }
        assert!(
            svg.contains("class=\"f0\" x=\"250.0\" y=\"0\" width=\"600.0\""),
            "{svg}"
        );
        assert!(
            svg.contains("class=\"f1\" x=\"250.0\" y=\"16\" width=\"750.0\""),
            "{svg}"
        );
        assert!(
            svg.contains("class=\"f1\" x=\"0.0\" y=\"16\" width=\"250.0\""),
            "{svg}"
        );
    }

    #[test]
    fn what_cannot_be_seen_is_left_out() {
        let svg = flame_graph("", &stacks(&[("main", 9_999), ("rare;frames", 1)])).unwrap();
        assert!(!svg.contains("rare"), "{svg}");
        assert!(
            svg.contains(&format!("viewBox=\"0 0 1000 {ROW}\"")),
            "{svg}"
        );
        assert_eq!(flame_graph("", &BTreeMap::new()), None);
    }

    #[test]
    fn labels_are_the_end_of_a_path() {
        assert_eq!(last_parts("storage::log::Log::append"), "Log::append");
        assert_eq!(last_parts("<net::Reply as Future>::poll"), "poll");
        assert_eq!(last_parts("Vec<(A, fn() -> B)>::push::<C>"), "Vec::push");
        assert_eq!(last_parts("tcp_sendmsg"), "tcp_sendmsg");
        assert_eq!(last_parts("<all>"), "<all>");
    }
}
