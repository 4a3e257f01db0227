//! `millstream-bench compare`: brokers side by side, in turns, and what that says.
//!
//! * `suite`, `expression`: what is measured and what is asked of the figures, as data;
//! * `plan`, `turn`, `broker`, `child`: who has its turn when, and how that is done;
//! * `machine`, `probes`, `stalls`: where it is measured, and what the machine itself gives;
//! * `load_result`, `figures`, `profile`, `results`: what was found out;
//! * `summary`, `verdict`, `baseline`: what follows from it.

mod baseline;
mod broker;
mod child;
mod error;
mod expression;
mod figures;
#[cfg(test)]
pub mod fixture;
mod load_result;
mod machine;
mod plan;
mod probes;
mod profile;
mod progress;
mod results;
mod stalls;
mod suite;
mod summary;
mod turn;
mod verdict;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

pub use self::baseline::{Change, Comparison, compare as compare_with_baseline};
pub use self::error::CompareError;
pub use self::figures::{FIGURES, PERCENTILES};
pub use self::load_result::Second;
pub use self::probes::PROBE_FIGURES;
pub use self::profile::KERNEL_MARK;
pub use self::progress::duration;
pub use self::results::Results;
pub use self::suite::{Case, Limit, Row, Sharing};
pub use self::summary::{Spread, Summary};
pub use self::verdict::{Outcome, Verdict, short, trimmed, verdicts};

use self::broker::Programs;
use self::child::Interruption;
use self::machine::{CongestionControl, Machine, available_cores, free_disk_bytes};
use self::plan::{Durations, Wanted};
use self::progress::Progress;
use self::suite::{Kind, Suite};
use self::turn::{Purpose, Round, Workshop};
use crate::report;

/// What to compare.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// `standard`, `short`, `witness`, or a file like bench-harness/src/compare/suites/standard.toml.
    #[arg(long, default_value = "standard")]
    suite: String,
    /// Turns of each broker; the suite's number by default.
    #[arg(long)]
    rounds: Option<usize>,
    /// Only these rows or cases.
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    only: Vec<String>,
    /// Only these brokers: `millstream[:KEY=VALUE,…]`, `kafka[:KEY=VALUE,…]`, or one that runs
    /// already as NAME=HOST:PORT. May be given many times.
    #[arg(long, value_name = "BROKER")]
    broker: Vec<String>,
    /// Cores of the brokers; the one that the disk interrupts by default, so that the completion
    /// of writes is at the cost of who writes.
    #[arg(long, value_name = "CORES", value_delimiter = ',')]
    broker_cores: Vec<usize>,
    /// Cores of the load; another one by default.
    #[arg(long, value_name = "CORES", value_delimiter = ',')]
    load_cores: Vec<usize>,
    /// Behind the rounds, each Millstream meets its cases once more while perf samples its stacks;
    /// the report shows them as flame graphs.
    #[arg(long)]
    profile: bool,
    /// The JSON of an earlier comparison, to be set beside this one.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Where results.json and report.html go.
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    output_dir: PathBuf,
    /// Where the brokers' folders go: a disk that knows O_DIRECT. The system's folder for
    /// temporary files by default.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The script that starts Apache Kafka; looked for in the folders above this one by default.
    #[arg(long, value_name = "FILE")]
    kafka: Option<PathBuf>,
    /// The folder of the witnesses, tools that others wrote; looked for likewise.
    #[arg(long, value_name = "DIR")]
    witness: Option<PathBuf>,
}

/// Compares, and writes what was found out.
///
/// # Errors
/// There is no comparison; what was measured until then is written all the same.
pub fn run(options: &Options) -> Result<(), CompareError> {
    let mut suite = Suite::load(&options.suite)?;
    if !options.only.is_empty() {
        suite.keep_only(&options.only)?;
    }
    let wanted: Result<Vec<_>, _> = options
        .broker
        .iter()
        .map(|text| Wanted::parse(text))
        .collect();
    plan::choose_brokers(&mut suite, &wanted?)?;
    plan::drop_idle_brokers(&mut suite);
    let baseline = options.baseline.as_deref().map(Results::read).transpose()?;
    if options.profile {
        profile::check()?;
    }
    let refused = |cause| CompareError::file(&options.output_dir, cause);
    std::fs::create_dir_all(&options.output_dir).map_err(refused)?;

    let base = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new()
        .prefix("millstream-bench-")
        .tempdir_in(&base);
    let folder = folder.map_err(|cause| CompareError::file(&base, cause))?;
    let congestion_control = CongestionControl::set(suite.congestion_control.as_deref());
    let mut workshop = prepare(options, folder.path())?;
    let rounds = options.rounds.unwrap_or(suite.rounds).max(1);
    let mut results = begin(suite, rounds, &workshop);
    results
        .notes
        .extend(machine::note_of_load(results.machine.cores));
    note_disk_space(&mut results, folder.path());

    let mut ended = measure(&mut workshop, &mut results);
    if ended.is_ok() && options.profile {
        ended = sample(&mut workshop, &mut results);
    }
    let at_first = &results.machine.congestion_control;
    results.notes.push(congestion_control.note(at_first));
    drop(congestion_control);
    drop(workshop);
    if results.runs.is_empty() {
        return ended;
    }
    report::write(&results, baseline.as_ref(), &options.output_dir)?;
    print!("{}", report::terminal(&results, baseline.as_ref()));
    println!("{}", options.output_dir.join("report.html").display());
    ended?;
    match results.failed().count() {
        0 => Ok(()),
        failed => Err(CompareError::Incomplete(failed)),
    }
}

fn prepare(options: &Options, folder: &Path) -> Result<Workshop, CompareError> {
    let interruption = Interruption::catch_signals()?;
    let all = available_cores();
    let broker_cores = if options.broker_cores.is_empty() {
        let others = |core: &usize| !options.load_cores.contains(core);
        let interrupted = probes::interrupted_core(folder).filter(others);
        let first = all.iter().copied().find(others);
        vec![interrupted.or(first).unwrap_or(0)]
    } else {
        options.broker_cores.clone()
    };
    let load_cores = if options.load_cores.is_empty() {
        let free = all
            .iter()
            .copied()
            .find(|core| !broker_cores.contains(core));
        vec![free.unwrap_or(broker_cores[0])]
    } else {
        options.load_cores.clone()
    };
    Ok(Workshop {
        programs: Programs::find(options.kafka.clone(), options.witness.clone())?,
        folder: folder.to_owned(),
        broker_cores,
        load_cores,
        interruption,
        progress: Progress::new(),
        durations: Durations::default(),
        output: options.output_dir.join(report::RESULTS_FILE),
    })
}

fn begin(suite: Suite, rounds: usize, workshop: &Workshop) -> Results {
    let now = unix_ms();
    let mut notes = Vec::new();
    if !suite.for_publication {
        notes.push("Not for publication: this suite is short.".to_owned());
    } else if rounds < suite.rounds {
        let asked = suite.rounds;
        notes.push(format!(
            "Not for publication: {rounds} of the {asked} rounds that this suite asks for."
        ));
    }
    let overlap = |core: &usize| workshop.load_cores.contains(core);
    if workshop.broker_cores.iter().any(overlap) {
        notes.push("Brokers and load shared cores: figures say little.".to_owned());
    }
    let versions: BTreeMap<String, String> = suite
        .brokers
        .iter()
        .filter_map(|broker| Some((broker.id.clone(), workshop.programs.version(broker.kind)?)))
        .collect();
    Results {
        version: results::VERSION,
        began_unix_ms: now,
        ended_unix_ms: now,
        rounds,
        machine: Machine::describe(&workshop.broker_cores, &workshop.load_cores),
        suite,
        versions,
        notes,
        probes: Vec::new(),
        worked_out: BTreeMap::new(),
        runs: Vec::new(),
        profiles: Vec::new(),
    }
}

fn note_disk_space(results: &mut Results, folder: &Path) {
    let wanted = results.suite.disk_gb;
    let free = free_disk_bytes(folder).map_or(f64::INFINITY, |bytes| bytes as f64 / 1e9);
    if free < wanted {
        let note = format!("Only {free:.0} GB of disk were free, where {wanted:.0} are wanted.");
        results.notes.push(note);
    }
}

/// All rounds.
fn measure(workshop: &mut Workshop, results: &mut Results) -> Result<(), CompareError> {
    let suite = results.suite.clone();
    for number in 1..=results.rounds {
        let turns = plan::turns(&suite, number);
        let whole = |durations: &Durations| durations.of_turns(&turns, 0);
        let rounds_behind = (results.rounds - number) as f64;
        let left = whole(&workshop.durations) * (rounds_behind + 1.0);
        let what = format!("round {number}/{}: the machine itself", results.rounds);
        workshop.progress.begin(what, suite.probes.seconds(), left);
        let (broker, load) = (workshop.broker_cores[0], workshop.load_cores[0]);
        let probed = probes::probe(&workshop.folder, &suite.probes, broker, load)?;
        results.probes.push(probed);
        let round = Round {
            purpose: Purpose::Measure,
            number,
            turns: &turns,
            behind: whole(&workshop.durations) * rounds_behind,
        };
        workshop.take(&round, results)?;
    }
    Ok(())
}

/// One more round of our own, whose frames perf can name.
fn sample(workshop: &mut Workshop, results: &mut Results) -> Result<(), CompareError> {
    let suite = results.suite.clone();
    let mut turns = plan::turns(&suite, results.rounds);
    turns.retain(|turn| turn.contender.kind == Kind::Millstream);
    let round = Round {
        purpose: Purpose::Profile,
        number: results.rounds,
        turns: &turns,
        behind: 0.0,
    };
    workshop.take(&round, results)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
