//! All that a comparison has found out: the document that is written as JSON and read again.
//!
//! The runs are the truth. What follows from them (medians, limits, outcomes of bars) is worked
//! out when it is shown; the written document has it too, under `summary` and `bars`, for other
//! readers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::CompareError;
use super::load_result::LoadResult;
use super::machine::Machine;
use super::probes::Probed;
use super::profile::Profile;
use super::suite::Suite;
use super::summary::Summary;
use super::verdict::verdicts;

/// The version of the document.
pub const VERSION: u32 = 1;

/// All that a comparison has found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The version of this document.
    pub version: u32,
    /// When it began.
    pub began_unix_ms: u64,
    /// When its last run ended.
    pub ended_unix_ms: u64,
    /// The rounds that were asked for.
    pub rounds: usize,
    /// The suite, with the brokers that were measured.
    pub suite: Suite,
    /// Where.
    pub machine: Machine,
    /// The version that each broker told.
    pub versions: BTreeMap<String, String>,
    /// What a reader ought to know.
    pub notes: Vec<String>,
    /// What the machine gave, once for each round.
    pub probes: Vec<Probed>,
    /// Expressions of loads and what they came to.
    pub worked_out: BTreeMap<String, f64>,
    /// Everything that was measured.
    pub runs: Vec<Run>,
    /// Where the brokers' processor time went, if that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<Profile>,
}

/// One case on one broker in one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The case.
    pub case: String,
    /// The broker.
    pub broker: String,
    /// From one.
    pub round: usize,
    /// The load's options as given.
    pub command: String,
    /// What the load said; none when it failed, or when only memory was looked at.
    pub load: Option<LoadResult>,
    /// The broker's memory after it.
    pub resident_bytes: Option<f64>,
    /// Why there is nothing.
    pub failure: Option<String>,
}

impl Results {
    /// Reads a document.
    ///
    /// # Errors
    /// It is none, or of another version.
    pub fn read(path: &Path) -> Result<Results, CompareError> {
        let text = fs::read_to_string(path).map_err(|cause| CompareError::file(path, cause))?;
        let broken = |reason: String| CompareError::Results {
            path: path.to_owned(),
            reason,
        };
        let results: Results =
            serde_json::from_str(&text).map_err(|cause| broken(cause.to_string()))?;
        if results.version != VERSION {
            return Err(broken(format!("it has version {}", results.version)));
        }
        Ok(results)
    }

    /// Writes the document, with what follows from it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), CompareError> {
        let document = self.document();
        let text = serde_json::to_string_pretty(&document).expect("all keys are strings");
        fs::write(path, text + "\n").map_err(|cause| CompareError::file(path, cause))
    }

    /// The document, with what follows from it.
    pub fn document(&self) -> Value {
        let mut document = serde_json::to_value(self).expect("all keys are strings");
        let summary = Summary::of(self);
        document["summary"] = json!(summary.document());
        document["bars"] = json!(verdicts(self, &summary));
        document
    }

    /// The runs of a case on a broker that gave figures.
    pub fn runs_of(&self, case: &str, broker: &str) -> impl Iterator<Item = &Run> {
        let wanted = move |run: &&Run| run.case == case && run.broker == broker;
        self.runs
            .iter()
            .filter(wanted)
            .filter(|run| run.failure.is_none())
    }

    /// The runs that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| run.failure.is_some())
    }

    /// The rounds of which there is something.
    pub fn rounds_done(&self) -> usize {
        self.runs.iter().map(|run| run.round).max().unwrap_or(0)
    }
}
