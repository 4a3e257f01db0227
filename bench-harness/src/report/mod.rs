//! What a comparison found out, for people: on the terminal, as a page, and for the docs.
//!
//! * `terminal`: lines of text;
//! * `page` with `row`, `changes`, `chart`, `flame` and `html`: one HTML file that needs nothing else;
//! * `markdown`: the tables of docs/benchmarks.md.

mod changes;
mod chart;
mod date;
mod flame;
mod html;
mod markdown;
mod page;
mod row;
mod terminal;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::compare::{CompareError, Results};

pub use self::terminal::terminal;

/// The document of a comparison, in its folder.
pub const RESULTS_FILE: &str = "results.json";
/// The page.
const PAGE_FILE: &str = "report.html";

/// What to make of a comparison that was measured before.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The results.json of a comparison.
    #[arg(value_name = "FILE")]
    results: PathBuf,
    /// The JSON of an earlier comparison, to be set beside this one.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Where the page goes; beside the results by default.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Prints the tables in Markdown instead.
    #[arg(long)]
    markdown: bool,
}

/// Writes the page again, or prints the tables.
///
/// # Errors
/// The results cannot be read, or the page not be written.
pub fn run(options: &Options) -> Result<(), CompareError> {
    let results = Results::read(&options.results)?;
    let baseline = options.baseline.as_deref().map(Results::read).transpose()?;
    if options.markdown {
        print!("{}", markdown::markdown(&results));
        return Ok(());
    }
    let beside = options.results.with_file_name(PAGE_FILE);
    let path = options.html.clone().unwrap_or(beside);
    write_page(&results, baseline.as_ref(), &path)?;
    print!("{}", terminal(&results, baseline.as_ref()));
    println!("{}", path.display());
    Ok(())
}

/// Writes the document and the page into a folder.
///
/// # Errors
/// A file cannot be written.
pub fn write(
    results: &Results,
    baseline: Option<&Results>,
    folder: &Path,
) -> Result<(), CompareError> {
    results.write(&folder.join(RESULTS_FILE))?;
    write_page(results, baseline, &folder.join(PAGE_FILE))
}

fn write_page(
    results: &Results,
    baseline: Option<&Results>,
    path: &Path,
) -> Result<(), CompareError> {
    let text = page::page(results, baseline);
    fs::write(path, text).map_err(|cause| CompareError::file(path, cause))
}
