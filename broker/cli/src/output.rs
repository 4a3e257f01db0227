//! Where results and errors go: text with colour on a terminal, or JSON.

use std::io::{self, IsTerminal, Write};

use serde_json::{Value, json};

use crate::arguments::OutputFormat;
use crate::failure::Failure;

/// How this run prints.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// The chosen format.
    pub format: OutputFormat,
    colour: bool,
}

impl Output {
    /// Colour is for terminals, and for people who have not set `NO_COLOR`.
    pub fn new(format: OutputFormat) -> Output {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Output {
            format,
            colour: wanted && io::stdout().is_terminal(),
        }
    }

    /// Whether JSON is wanted.
    pub fn is_json(self) -> bool {
        self.format == OutputFormat::Json
    }

    /// Prints a result in the format that is wanted.
    pub fn print(
        self,
        json: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let text = match self.format {
            OutputFormat::Json => format!("{}\n", json()),
            OutputFormat::Text => text(),
        };
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(Failure::stdout)
    }

    /// A name that stands out, on a terminal.
    pub fn strong(self, text: &str) -> String {
        self.coloured("1", text)
    }

    /// Something that is wrong, on a terminal in red.
    pub fn wrong(self, text: &str) -> String {
        self.coloured("31", text)
    }

    /// Says on standard error why the command failed.
    pub fn print_failure(self, failure: &Failure) {
        if failure.exit_code() == 0 {
            return;
        }
        let mut stderr = io::stderr().lock();
        // Where standard error is closed, nobody is left to be told.
        let _ = match self.format {
            OutputFormat::Json => {
                let error = json!({"error": failure.to_string(), "mend": failure.mend()});
                writeln!(stderr, "{error}")
            }
            OutputFormat::Text => {
                let label = match stderr.is_terminal() && self.colour {
                    true => "\x1b[1;31merror:\x1b[0m",
                    false => "error:",
                };
                match failure.mend() {
                    Some(mend) => writeln!(stderr, "{label} {failure}\n  {mend}"),
                    None => writeln!(stderr, "{label} {failure}"),
                }
            }
        };
    }

    fn coloured(self, code: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// Lays out rows in columns, the first row being the heading.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}
