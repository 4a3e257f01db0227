//! Java's `.properties` format, in which Kafka's `server.properties` is written.
//!
//! `key=value`, `key: value` or `key value`; `#` and `!` begin comments; a backslash at the end of
//! a line joins the next one; `\n`, `\t`, `\u` with four hex digits and escaped separators are
//! understood.

use thiserror::Error;

/// A line that cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line}: {problem}")]
pub struct PropertiesError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// The keys and values of a properties file, in its order.
pub fn parse_properties(text: &str) -> Result<Vec<(String, String)>, PropertiesError> {
    let mut pairs = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let trimmed = first.trim_start();
        if trimmed.is_empty() || trimmed.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = trimmed.to_owned();
        while ends_in_continuation(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start()),
                None => break,
            }
        }
        let error = |problem: &str| PropertiesError {
            line: index + 1,
            problem: problem.into(),
        };
        let (key, value) = split(&logical);
        let key = unescape(key).ok_or_else(|| error("a broken \\u escape in the key"))?;
        if key.is_empty() {
            return Err(error("there is no key before the separator"));
        }
        let value = unescape(value).ok_or_else(|| error("a broken \\u escape in the value"))?;
        pairs.push((key, value.trim_end().to_owned()));
    }
    Ok(pairs)
}

fn ends_in_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Splits at the first separator that is not escaped; spaces around it belong to neither side.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '=' | ':' => return (&line[..at], line[at + 1..].trim_start()),
            c if c.is_whitespace() => {
                let rest = line[at..].trim_start();
                let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
                return (&line[..at], rest.trim_start());
            }
            _ => {}
        }
    }
    (line, "")
}

fn unescape(text: &str) -> Option<String> {
    let mut result = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            result.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => result.push('\n'),
            Some('t') => result.push('\t'),
            Some('r') => result.push('\r'),
            Some('f') => result.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16)
                    .ok()
                    .filter(|_| digits.len() == 4)?;
                result.push(char::from_u32(code)?);
            }
            Some(other) => result.push(other),
            None => {}
        }
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_the_format() {
        let text = "# comment\n! too\n\na=1\n b : two \\\n  lines\nc three\nd\ne\\=f=\\u0041\\n";
        let expected = [
            ("a", "1"),
            ("b", "two lines"),
            ("c", "three"),
            ("d", ""),
            ("e=f", "A"),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        assert_eq!(parse_properties(text), Ok(expected));
    }

    #[test]
    fn errors_name_the_line() {
        let error = parse_properties("a=1\nb=\\u00g0").expect_err("the escape is broken");
        assert_eq!(
            error.to_string(),
            "line 2: a broken \\u escape in the value"
        );
        assert_eq!(parse_properties("=x").expect_err("no key").line, 1);
    }
}
