//! Durations in the ISO 8601 form that Java reads, such as `P1DT2H3.5S`.

/// The length in nanoseconds, or nothing if it is not written so.
pub(super) fn parse_duration(text: &str) -> Option<i128> {
    let upper = text.to_ascii_uppercase();
    let (negative, rest) = match upper.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, upper.strip_prefix('+').unwrap_or(&upper)),
    };
    let rest = rest.strip_prefix('P')?;
    let (days, time) = match rest.split_once('T') {
        // A T announces a time, which must follow.
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (rest, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let mut total = 0;
    if !days.is_empty() {
        total += seconds(days.strip_suffix('D')?, 86_400)?;
    }
    let mut time = time;
    for (unit, length) in [('H', 3600), ('M', 60)] {
        if let Some((count, rest)) = time.split_once(unit) {
            total += seconds(count, length)?;
            time = rest;
        }
    }
    if !time.is_empty() {
        total += fraction(time.strip_suffix('S')?)?;
    }
    Some(if negative { -total } else { total })
}

const NANOS: i128 = 1_000_000_000;

fn seconds(count: &str, length: i128) -> Option<i128> {
    let count: i64 = count.parse().ok()?;
    Some(i128::from(count) * length * NANOS)
}

/// Seconds with up to nine digits behind the point.
fn fraction(text: &str) -> Option<i128> {
    let Some((whole, part)) = text.split_once(['.', ',']) else {
        return seconds(text, 1);
    };
    if part.len() > 9 || !part.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let nanos: i128 = format!("{part:0<9}").parse().ok()?;
    let whole_nanos = seconds(whole, 1)?;
    Some(if whole.starts_with('-') {
        whole_nanos - nanos
    } else {
        whole_nanos + nanos
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_java_reads_them() {
        for (text, length) in [
            ("P1D", Some(86_400 * NANOS)),
            ("pt1h2m3.5s", Some(3_723_500_000_000)),
            ("P-1DT1S", Some(-86_399 * NANOS)),
            ("-PT1S", Some(-NANOS)),
            ("PT-0.5S", Some(-500_000_000)),
            ("PT0S", Some(0)),
            ("P", None),
            ("PT", None),
            ("P1DT", None),
            ("1D", None),
            ("P1H", None),
            ("PT1S1M", None),
            ("PT1.1234567890S", None),
            ("PTxS", None),
            ("", None),
        ] {
            assert_eq!(parse_duration(text), length, "{text}");
        }
    }
}
