//! The expressions in which bars are written: products, quotients, `min` and `max` of numbers and
//! figures.
//!
//! ```text
//! term      factor (('*' | '/') factor)*
//! factor    number | ('min' | 'max') '(' term (',' term)* ')' | '(' term ')' | reference
//! reference who '.' figure ['@' case]
//! ```

use std::fmt;

use thiserror::Error;

/// Nesting beyond this is refused.
const DEPTH_MAX: usize = 16;

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// A number.
    Number(f64),
    /// A figure.
    Figure(Reference),
    /// The first over or times the second.
    Product(Box<Expression>, Operator, Box<Expression>),
    /// The least or the greatest.
    Extreme(Extreme, Vec<Expression>),
}

/// What stands between two factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `*`
    Times,
    /// `/`
    Over,
}

/// Which of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extreme {
    /// `min`
    Least,
    /// `max`
    Greatest,
}

/// The name of a figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The broker, or `probe`.
    pub who: String,
    /// The figure.
    pub figure: String,
    /// The case in which it was measured; none for a probe.
    pub case: Option<String>,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.who, self.figure)?;
        match &self.case {
            Some(case) => write!(f, "@{case}"),
            None => Ok(()),
        }
    }
}

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{expected} is missing at position {position}")]
pub struct ExpressionError {
    expected: &'static str,
    position: usize,
}

impl Expression {
    /// Parses a text.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Expression, ExpressionError> {
        let mut parser = Parser { text, position: 0 };
        let expression = parser.term(0)?;
        parser.skip_spaces();
        if parser.position < text.len() {
            return Err(parser.missing("an operator"));
        }
        Ok(expression)
    }

    /// The value; none while a figure is not there, or when it is no finite number.
    pub fn value(&self, figure: &dyn Fn(&Reference) -> Option<f64>) -> Option<f64> {
        let value = match self {
            Expression::Number(number) => *number,
            Expression::Figure(reference) => figure(reference)?,
            Expression::Product(left, operator, right) => {
                let (left, right) = (left.value(figure)?, right.value(figure)?);
                match operator {
                    Operator::Times => left * right,
                    Operator::Over => left / right,
                }
            }
            Expression::Extreme(extreme, parts) => {
                let values: Option<Vec<f64>> =
                    parts.iter().map(|part| part.value(figure)).collect();
                let values = values?.into_iter();
                match extreme {
                    Extreme::Least => values.fold(f64::INFINITY, f64::min),
                    Extreme::Greatest => values.fold(f64::NEG_INFINITY, f64::max),
                }
            }
        };
        value.is_finite().then_some(value)
    }

    /// The figures that it names, in order.
    pub fn references(&self) -> Vec<Reference> {
        match self {
            Expression::Number(_) => Vec::new(),
            Expression::Figure(reference) => vec![reference.clone()],
            Expression::Product(left, _, right) => {
                let mut found = left.references();
                found.extend(right.references());
                found
            }
            Expression::Extreme(_, parts) => {
                parts.iter().flat_map(Expression::references).collect()
            }
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Parser<'a> {
    fn term(&mut self, depth: usize) -> Result<Expression, ExpressionError> {
        if depth > DEPTH_MAX {
            return Err(self.missing("a simpler expression"));
        }
        let mut left = self.factor(depth)?;
        loop {
            let operator = if self.take("*") {
                Operator::Times
            } else if self.take("/") {
                Operator::Over
            } else {
                return Ok(left);
            };
            let right = self.factor(depth)?;
            left = Expression::Product(Box::new(left), operator, Box::new(right));
        }
    }

    fn factor(&mut self, depth: usize) -> Result<Expression, ExpressionError> {
        if self.take("(") {
            let inside = self.term(depth + 1)?;
            self.expect(")")?;
            return Ok(inside);
        }
        let word = self.word();
        if let Ok(number) = word.parse() {
            return Ok(Expression::Number(number));
        }
        match word {
            "min" => self.parts(depth, Extreme::Least),
            "max" => self.parts(depth, Extreme::Greatest),
            word => self.reference(word),
        }
    }

    fn parts(&mut self, depth: usize, extreme: Extreme) -> Result<Expression, ExpressionError> {
        self.expect("(")?;
        let mut parts = vec![self.term(depth + 1)?];
        while self.take(",") {
            parts.push(self.term(depth + 1)?);
        }
        self.expect(")")?;
        Ok(Expression::Extreme(extreme, parts))
    }

    fn reference(&mut self, word: &str) -> Result<Expression, ExpressionError> {
        let named = |part: &str| !part.is_empty();
        let Some((who, rest)) = word.split_once('.').filter(|(who, _)| named(who)) else {
            return Err(self.missing("a number or WHO.FIGURE@CASE"));
        };
        let (figure, case) = match rest.split_once('@') {
            Some((figure, case)) => (figure, Some(case.to_owned())),
            None => (rest, None),
        };
        if !named(figure) {
            return Err(self.missing("a figure"));
        }
        Ok(Expression::Figure(Reference {
            who: who.to_owned(),
            figure: figure.to_owned(),
            case,
        }))
    }

    fn word(&mut self) -> &'a str {
        self.skip_spaces();
        let rest = &self.text[self.position..];
        let inside = |c: char| c.is_ascii_alphanumeric() || "._-@+".contains(c);
        let end = rest.find(|c| !inside(c)).unwrap_or(rest.len());
        self.position += end;
        &rest[..end]
    }

    fn take(&mut self, symbol: &str) -> bool {
        self.skip_spaces();
        let found = self.text[self.position..].starts_with(symbol);
        if found {
            self.position += symbol.len();
        }
        found
    }

    fn expect(&mut self, symbol: &'static str) -> Result<(), ExpressionError> {
        if self.take(symbol) {
            Ok(())
        } else {
            Err(self.missing(symbol))
        }
    }

    fn skip_spaces(&mut self) {
        let rest = &self.text[self.position..];
        self.position += rest.len() - rest.trim_start().len();
    }

    fn missing(&self, expected: &'static str) -> ExpressionError {
        ExpressionError {
            expected,
            position: self.position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<f64> {
        let figure = |reference: &Reference| match reference.to_string().as_str() {
            "ours.mb_s@1a" => Some(600.0),
            "kafka-flush.p99_ms@6" => Some(20.0),
            "probe.disk_write_mb_s" => Some(900.0),
            _ => None,
        };
        Expression::parse(text).unwrap().value(&figure)
    }

    #[test]
    fn figures_are_combined() {
        assert_eq!(value("ours.mb_s@1a / 300"), Some(2.0));
        assert_eq!(value("0.5 * kafka-flush.p99_ms@6"), Some(10.0));
        assert_eq!(value("ours.mb_s@1a/(2*3)"), Some(100.0));
        let lower = "ours.mb_s@1a / min(probe.disk_write_mb_s, 1200)";
        assert_eq!(value(lower), Some(600.0 / 900.0));
        assert_eq!(value("max(1, 2.5) * 2"), Some(5.0));
    }

    #[test]
    fn what_is_not_there_has_no_value() {
        assert_eq!(value("ours.mb_s@2 / 300"), None);
        assert_eq!(value("min(1, ours.mb_s@2)"), None);
        assert_eq!(value("1 / 0"), None);
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in [
            "", "1 +", "1 2", "a.", ".b", "min 1", "min(1", "(1", "a.b@c d", "mb",
        ] {
            assert!(Expression::parse(text).is_err(), "{text:?}");
        }
        let deep = "(".repeat(1000) + "1" + &")".repeat(1000);
        assert!(Expression::parse(&deep).is_err());
    }

    #[test]
    fn references_come_in_order() {
        let parsed = Expression::parse("a.x@1 / min(b.y@2, probe.z)").unwrap();
        let names: Vec<_> = parsed
            .references()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["a.x@1", "b.y@2", "probe.z"]);
    }
}
