//! Spans of time as people write them: `1h30m`, or `PT1H30M` as ISO 8601 has it.

/// Milliseconds for each unit, the longest first.
const UNITS: [(&str, i64); 6] = [
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Milliseconds, from numbers with units such as `2d`, `1h30m`, `250ms` or `PT1H30M`.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || {
        "a duration is numbers with units, such as 250ms, 30s, 1h30m, 7d, 2w or PT1H30M".to_owned()
    };
    let lower = text.to_ascii_lowercase();
    // In ISO 8601 a month is an M before the T, which stands for no fixed span.
    let rest = match lower.strip_prefix('p') {
        None => lower.clone(),
        Some(iso) => {
            let (date, time) = iso.split_once('t').unwrap_or((iso, ""));
            if date.contains('m') || (iso.ends_with('t')) {
                return Err(wrong());
            }
            format!("{date}{time}")
        }
    };
    let mut rest = rest.as_str();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters]);
        let (_, ms) = unit.ok_or_else(wrong)?;
        rest = &rest[letters..];
        let part = number.checked_mul(*ms).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
    }
    Ok(total)
}

/// A span with its two largest units, such as `1h 30m`.
pub fn format_duration(ms: i64) -> String {
    if ms < 0 {
        return format!("-{}", format_duration(ms.saturating_neg()));
    }
    // A week is seldom what one thinks in; below a second only milliseconds say something.
    let units = &UNITS[1..];
    let Some(first) = units.iter().position(|(_, unit)| ms >= *unit) else {
        return "0s".to_owned();
    };
    let (name, unit) = units[first];
    let mut text = format!("{}{name}", ms / unit);
    if let Some((name, smaller)) = units.get(first + 1)
        && unit > 1000
        && ms % unit / smaller > 0
    {
        text.push_str(&format!(" {}{name}", ms % unit / smaller));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, ms) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("2w", 1_209_600_000),
            ("PT1H30M", 5_400_000),
            ("P1DT1S", 86_401_000),
            ("P7D", 604_800_000),
        ] {
            assert_eq!(parse_duration(text), Ok(ms), "{text}");
        }
        let long = "9999999999999999w";
        for wrong in ["", "5", "h", "1x", "-1h", "P1M", "PT", "1h ", "é", long] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_written() {
        for (ms, text) in [
            (0, "0s"),
            (15, "15ms"),
            (2_400, "2s"),
            (90_000, "1m 30s"),
            (5_400_000, "1h 30m"),
            (90_000_000, "1d 1h"),
            (-2_000, "-2s"),
        ] {
            assert_eq!(format_duration(ms), text);
        }
    }
}
