//! Where results and errors go: text with colour on a terminal, or JSON.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::arguments::OutputFormat;
use crate::failure::Failure;

/// How this run prints.
#[derive(Debug, Clone)]
pub struct Output {
    format: OutputFormat,
    colour: bool,
    sink: Sink,
}

/// Where results go.
#[derive(Debug, Clone)]
enum Sink {
    Stdout,
    Memory(Arc<Mutex<Vec<u8>>>),
}

impl Output {
    /// Colour is for terminals, and for people who have not set `NO_COLOR`.
    pub fn new(format: OutputFormat) -> Output {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Output {
            format,
            colour: wanted && io::stdout().is_terminal(),
            sink: Sink::Stdout,
        }
    }

    /// Keeps what is printed, for [`Output::taken`].
    pub fn in_memory(format: OutputFormat) -> Output {
        Output {
            format,
            colour: false,
            sink: Sink::Memory(Arc::default()),
        }
    }

    /// What was printed into memory since the last call.
    pub fn taken(&self) -> Vec<u8> {
        match &self.sink {
            Sink::Stdout => Vec::new(),
            Sink::Memory(bytes) => {
                std::mem::take(&mut *bytes.lock().unwrap_or_else(PoisonError::into_inner))
            }
        }
    }

    /// Whether JSON is wanted.
    pub fn is_json(&self) -> bool {
        self.format == OutputFormat::Json
    }

    /// Prints a result in the format that is wanted.
    pub fn print(
        &self,
        json: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let text = match self.format {
            OutputFormat::Json => format!("{}\n", json()),
            OutputFormat::Text => text(),
        };
        self.write(text.as_bytes())
    }

    /// Prints bytes as they are.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        match &self.sink {
            Sink::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout
                    .write_all(bytes)
                    .and_then(|()| stdout.flush())
                    .map_err(Failure::stdout)
            }
            Sink::Memory(memory) => {
                let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                memory.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Tells a person at a terminal something that is no result.
    pub fn note(&self, text: &str) {
        if self.may_tell() {
            eprintln!("{text}");
        }
    }

    /// Whether a person reads standard error, and wants text.
    pub fn may_tell(&self) -> bool {
        !self.is_json() && matches!(self.sink, Sink::Stdout) && io::stderr().is_terminal()
    }

    /// A name that stands out, on a terminal.
    pub fn strong(&self, text: &str) -> String {
        self.coloured("1", text)
    }

    /// Something that is wrong, on a terminal in red.
    pub fn wrong(&self, text: &str) -> String {
        self.coloured("31", text)
    }

    /// Something that deserves a look, on a terminal in yellow.
    pub fn doubtful(&self, text: &str) -> String {
        self.coloured("33", text)
    }

    /// Something that is in order, on a terminal in green.
    pub fn right(&self, text: &str) -> String {
        self.coloured("32", text)
    }

    /// Says on standard error why the command failed.
    pub fn print_failure(&self, failure: &Failure) {
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

    fn coloured(&self, code: &str, text: &str) -> String {
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

/// A table's heading.
pub fn heading(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A number, or a dash where there is none.
pub fn number_or_dash(number: Option<i64>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}

/// A number and its noun, such as `3 partitions`.
pub fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
