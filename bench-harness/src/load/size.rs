//! How large values are: one size, a range, or a choice of several with weights.
//!
//! ```text
//! 1024            each value has so many bytes
//! 100..1000       evenly from 100 to 1000
//! 100:9,4000..5000:1   nine of ten have 100 bytes, the others 4000 to 5000
//! ```

use std::fmt;
use std::str::FromStr;

use super::payload::Random;

/// The largest value: what one batch of Kafka's default limit holds, and some more.
const LARGEST: usize = 16 << 20;
/// The most choices.
const CHOICES_MAX: usize = 64;

/// A distribution of sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    choices: Vec<Choice>,
    weights: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Choice {
    smallest: usize,
    largest: usize,
    weight: u32,
}

impl Sizes {
    /// Every value has so many bytes.
    pub fn fixed(size: usize) -> Sizes {
        Sizes {
            choices: vec![Choice {
                smallest: size,
                largest: size,
                weight: 1,
            }],
            weights: 1,
        }
    }

    /// The next size.
    pub fn draw(&self, random: &mut Random) -> usize {
        let mut at = random.below(self.weights);
        for choice in &self.choices {
            let weight = u64::from(choice.weight);
            if at < weight {
                let width = choice.largest - choice.smallest + 1;
                return choice.smallest + random.below(width as u64) as usize;
            }
            at -= weight;
        }
        unreachable!("what is drawn is less than the sum of the weights")
    }

    /// The smallest size that comes.
    pub fn smallest(&self) -> usize {
        let smallest = self.choices.iter().map(|choice| choice.smallest).min();
        smallest.expect("there is a choice")
    }

    /// Whether all values have the same size.
    pub fn is_fixed(&self) -> bool {
        let [choice] = &self.choices[..] else {
            return false;
        };
        choice.smallest == choice.largest
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        let choices: Result<Vec<Choice>, String> = text.split(',').map(choice).collect();
        let choices = choices?;
        if choices.len() > CHOICES_MAX {
            return Err(format!("more than {CHOICES_MAX} sizes"));
        }
        let weights = choices.iter().map(|choice| u64::from(choice.weight)).sum();
        if weights == 0 {
            return Err("a weight must be greater than 0".to_owned());
        }
        Ok(Sizes { choices, weights })
    }
}

fn choice(text: &str) -> Result<Choice, String> {
    let (range, weight) = match text.split_once(':') {
        Some((range, weight)) => (
            range,
            weight
                .parse()
                .map_err(|_| format!("{weight:?} is no weight"))?,
        ),
        None => (text, 1),
    };
    let (smallest, largest) = range.split_once("..").unwrap_or((range, range));
    let number = |text: &str| match text.trim().parse() {
        Ok(size) if size <= LARGEST => Ok(size),
        Ok(size) => Err(format!("{size} is more than {LARGEST}")),
        Err(_) => Err(format!("{text:?} is no number of bytes")),
    };
    let (smallest, largest) = (number(smallest)?, number(largest)?);
    if smallest > largest {
        return Err(format!("{smallest} is more than {largest}"));
    }
    Ok(Choice {
        smallest,
        largest,
        weight,
    })
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, choice) in self.choices.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{}", choice.smallest)?;
            if choice.largest > choice.smallest {
                write!(f, "..{}", choice.largest)?;
            }
            if choice.weight != 1 {
                write!(f, ":{}", choice.weight)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for text in ["1024", "100..1000", "100:9,4000..5000", "0"] {
            let sizes: Sizes = text.parse().unwrap();
            assert_eq!(sizes.to_string(), text);
        }
        for wrong in ["", "a", "5..4", "1:0", "1:x", "999999999", "1,,2"] {
            assert!(wrong.parse::<Sizes>().is_err(), "{wrong:?}");
        }
        assert!(Sizes::fixed(7).is_fixed());
        assert!(!"1..2".parse::<Sizes>().unwrap().is_fixed());
    }

    #[test]
    fn sizes_come_as_often_as_they_weigh() {
        let sizes: Sizes = "10:3,20..29:1".parse().unwrap();
        let mut random = Random::new(1);
        let drawn: Vec<usize> = (0..10_000).map(|_| sizes.draw(&mut random)).collect();
        let tens = drawn.iter().filter(|size| **size == 10).count();
        assert!((7_000..8_000).contains(&tens), "{tens}");
        for size in 20..30 {
            let count = drawn.iter().filter(|drawn| **drawn == size).count();
            assert!((150..350).contains(&count), "{count} times {size}");
        }
        assert!(
            drawn
                .iter()
                .all(|size| *size == 10 || (20..30).contains(size))
        );
        assert_eq!(sizes.smallest(), 10);
    }
}
