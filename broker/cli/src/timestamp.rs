//! Times as people write them: RFC 3339 in UTC, or a while ago.

use std::str::FromStr;

use crate::duration::parse_duration;

const MS_PER_DAY: i64 = 24 * 60 * 60 * 1000;

/// A time that may depend on when the command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// At so many milliseconds since the epoch.
    At(i64),
    /// So many milliseconds before the command runs.
    Ago(i64),
}

impl Moment {
    /// Milliseconds since the epoch.
    pub fn resolve(self, now_ms: i64) -> i64 {
        match self {
            Moment::At(ms) => ms,
            Moment::Ago(ms) => now_ms.saturating_sub(ms),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    /// Understands `now`, `-1h30m` and what [`parse_timestamp`] does.
    fn from_str(text: &str) -> Result<Moment, String> {
        if text == "now" {
            return Ok(Moment::Ago(0));
        }
        match text.strip_prefix('-') {
            Some(ago) => parse_duration(ago).map(Moment::Ago),
            None => parse_timestamp(text).map(Moment::At),
        }
    }
}

/// Milliseconds since the epoch, from a number of them or from a date such as
/// `2026-01-31T23:59:00Z`, `2026-01-31 23:59` or `2026-01-31`, in UTC.
pub fn parse_timestamp(text: &str) -> Result<i64, String> {
    let wrong = || {
        "a time is milliseconds since the epoch, a date in UTC such as 2026-01-31T23:59:00Z, now, \
         or a while ago as in -1h30m"
            .to_owned()
    };
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(ms);
    }
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "0:0"));
    let numbers = |text: &str, separator: char| -> Option<Vec<i64>> {
        text.split(separator)
            .map(|part| part.parse().ok().filter(|number| *number >= 0))
            .collect()
    };
    let (time, millis) = match time.split_once('.') {
        Some((time, fraction)) if fraction.bytes().all(|byte| byte.is_ascii_digit()) => {
            let padded = format!("{fraction:0<3}");
            (time, padded[..3].parse::<i64>().map_err(|_| wrong())?)
        }
        Some(_) => return Err(wrong()),
        None => (time, 0),
    };
    let date = numbers(date, '-').ok_or_else(wrong)?;
    let time = numbers(time, ':').ok_or_else(wrong)?;
    let (&[year, month, day], &[hour, minute, ..]) = (&date[..], &time[..]) else {
        return Err(wrong());
    };
    let second = time.get(2).copied().unwrap_or(0);
    let valid = year <= 9999
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61
        && time.len() <= 3;
    if !valid {
        return Err(wrong());
    }
    let seconds = hour * 3600 + minute * 60 + second;
    Ok(days_from_civil(year, month, day) * MS_PER_DAY + seconds * 1000 + millis)
}

/// A time as a date in UTC; the number itself where there is no such date.
pub fn format_timestamp(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(MS_PER_DAY), ms.rem_euclid(MS_PER_DAY));
    let (year, month, day) = civil_from_days(days);
    if !(1..=9999).contains(&year) {
        return ms.to_string();
    }
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, milli) = (rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Days since 1970-01-01 in the Gregorian calendar. Years begin in March here, so that the leap
/// day is the last of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_written() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T12:34:56.789Z", 951_827_696_789),
            ("2026-11-21T00:00:00.000Z", 1_795_219_200_000),
            ("1969-12-31T23:59:59.999Z", -1),
        ] {
            assert_eq!(parse_timestamp(text), Ok(ms), "{text}");
            assert_eq!(format_timestamp(ms), text);
        }
        assert_eq!(parse_timestamp("2000-02-29"), Ok(951_782_400_000));
        assert_eq!(parse_timestamp("2000-02-29 12:34"), Ok(951_827_640_000));
        assert_eq!(parse_timestamp("12345"), Ok(12345));
    }

    #[test]
    fn moments_may_be_relative() {
        assert_eq!("now".parse::<Moment>().map(|m| m.resolve(5000)), Ok(5000));
        assert_eq!("-2s".parse::<Moment>().map(|m| m.resolve(5000)), Ok(3000));
        assert_eq!("4000".parse::<Moment>().map(|m| m.resolve(5000)), Ok(4000));
        for wrong in ["", "-", "-2", "later", "--1s"] {
            assert!(wrong.parse::<Moment>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_day_of_a_cycle_comes_back() {
        for day in (-200_000..200_000).step_by(7) {
            let (year, month, dom) = civil_from_days(day);
            assert_eq!(days_from_civil(year, month, dom), day);
        }
    }

    #[test]
    fn other_text_and_extreme_numbers_are_no_dates() {
        for wrong in [
            "",
            "soon",
            "2026-13-01",
            "2026-01-01T25:00",
            "2026-01-01T1:2:3.x",
        ] {
            assert!(parse_timestamp(wrong).is_err(), "{wrong}");
        }
        assert_eq!(format_timestamp(i64::MAX), i64::MAX.to_string());
        assert_eq!(format_timestamp(i64::MIN), i64::MIN.to_string());
    }
}
