//! A round: each case is put to its brokers in turns, on topics of their own. A broker is started and
//! warmed up for its first case, and paused while others have their turns.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use millstream_client::{Client, ClientConfig};
use millstream_reactor::uring::{ShardOptions, start_shard};

use super::broker::{Broker, Programs};
use super::child::{self, Interruption};
use super::error::CompareError;
use super::expression::Expression;
use super::load_result::LoadResult;
use super::machine::{bind_thread, drop_page_cache, resident_bytes, touch_memory};
use super::plan::{self, Durations, Turn};
use super::profile::{Profile, Recording};
use super::progress::Progress;
use super::results::{Results, Run};
use super::suite::{Case, Contender, Sharing, placeholders};
use super::summary::Summary;

/// How much longer than told a load may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long the files of a topic that was removed may stay.
const FILES_GONE_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What all turns share.
pub struct Workshop {
    /// The programs.
    pub programs: Programs,
    /// Where brokers have their folders.
    pub folder: PathBuf,
    /// Cores of brokers.
    pub broker_cores: Vec<usize>,
    /// Cores of the load.
    pub load_cores: Vec<usize>,
    /// Whether somebody has asked for the end.
    pub interruption: Interruption,
    /// What is told meanwhile.
    pub progress: Progress,
    /// How long things take.
    pub durations: Durations,
    /// Where what was found out is kept.
    pub output: PathBuf,
}

/// What a round is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Figures.
    Measure,
    /// Samples of the broker's stacks; the figures are not kept.
    Profile,
}

/// One round.
pub struct Round<'a> {
    /// What for.
    pub purpose: Purpose,
    /// From one.
    pub number: usize,
    /// Its turns.
    pub turns: &'a [Turn<'a>],
    /// Seconds that all later rounds take.
    pub behind: f64,
}

/// A broker, and what its loads are given.
struct Stand<'a> {
    broker: Broker,
    contender: &'a Contender,
    load_cores: Vec<usize>,
}

impl Workshop {
    /// Takes a round and adds its runs. A case that fails is among them with the reason. What is
    /// there is kept after each turn.
    ///
    /// # Errors
    /// A broker does not start, or somebody asks for the end.
    pub fn take(&mut self, round: &Round<'_>, results: &mut Results) -> Result<(), CompareError> {
        let folder = self.folder.join(format!("round-{}", round.number));
        make_empty(&folder)?;
        touch_memory(results.suite.touch_gb);
        let mut stands: Vec<Stand<'_>> = Vec::new();
        for (index, turn) in round.turns.iter().enumerate() {
            self.interruption.check()?;
            let known = stands
                .iter()
                .position(|stand| stand.contender.id == turn.contender.id);
            let stand = match known {
                Some(at) => &stands[at],
                None => {
                    let stand = self.start(round, index, &folder, results)?;
                    stands.push(stand);
                    &stands[stands.len() - 1]
                }
            };
            let began = Instant::now();
            stand.broker.resume();
            let run = self.measure(stand, round, index, results)?;
            stand.broker.pause();
            self.progress.say(&told(&run, turn));
            if round.purpose == Purpose::Measure {
                results.runs.push(run);
                results.ended_unix_ms = super::unix_ms();
                results.write(&self.output)?;
                self.durations
                    .remember(&turn.contender.id, &turn.case.id, began.elapsed());
            }
        }
        for stand in stands {
            stand.broker.stop()?;
        }
        fs::remove_dir_all(&folder).map_err(|cause| CompareError::file(&folder, cause))
    }

    /// Starts and warms up the broker of a turn.
    fn start<'a>(
        &mut self,
        round: &Round<'a>,
        index: usize,
        folder: &Path,
        results: &Results,
    ) -> Result<Stand<'a>, CompareError> {
        let contender = round.turns[index].contender;
        let around = plan::around(contender);
        let behind = self.durations.of_turns(round.turns, index) - around + round.behind;
        let what = title(round, contender, results, "start and warm-up");
        self.progress.begin(what, around, behind);
        let folder = folder.join(&contender.id);
        make_empty(&folder)?;
        let (broker_cores, load_cores) = self.cores(contender.cores);
        let broker = Broker::start(
            contender,
            &folder,
            &broker_cores,
            &self.programs,
            &self.interruption,
        )?;
        let stand = Stand {
            broker,
            contender,
            load_cores,
        };
        for load in &contender.warm_up {
            self.load(&stand, load, "warm-up")?;
        }
        self.remove_topic(&stand, "warm-up");
        Ok(stand)
    }

    fn measure(
        &mut self,
        stand: &Stand<'_>,
        round: &Round<'_>,
        index: usize,
        results: &mut Results,
    ) -> Result<Run, CompareError> {
        let Turn { contender, case } = round.turns[index];
        let behind = self.durations.of_turns(round.turns, index + 1) + round.behind;
        let what = format!("{} {}", case.id, case.title);
        let what = title(round, contender, results, &what);
        let expected = self.durations.of_case(&contender.id, case);
        self.progress.begin(what, expected, behind);
        let mut run = Run {
            case: case.id.clone(),
            broker: contender.id.clone(),
            round: round.number,
            command: case.measured().unwrap_or_default().to_owned(),
            load: None,
            resident_bytes: None,
            failure: None,
        };
        match self.put_load(stand, case, round.purpose, results, &mut run) {
            Ok(()) => {}
            Err(CompareError::Interrupted) => return Err(CompareError::Interrupted),
            Err(failure) => {
                let text = format!("{failure}; {}", stand.broker.end_of_log());
                run.failure = Some(text.trim_end_matches("; ").to_owned());
            }
        }
        run.resident_bytes = stand.broker.pid.and_then(resident_bytes);
        if case.loads().next().is_some() {
            self.remove_topic(stand, &topic(&case.id));
        }
        Ok(run)
    }

    fn put_load(
        &mut self,
        stand: &Stand<'_>,
        case: &Case,
        purpose: Purpose,
        results: &mut Results,
        run: &mut Run,
    ) -> Result<(), CompareError> {
        let topic = topic(&case.id);
        for load in &case.prepare {
            let load = work_out(load, results)?;
            self.load(stand, &load, &topic)?;
        }
        self.settle(Duration::from_secs_f64(case.settle_seconds))?;
        if case.drop_page_cache {
            let note = "The page cache could not be dropped: cold reads were not all cold.";
            if !drop_page_cache() && !results.notes.iter().any(|told| told == note) {
                results.notes.push(note.to_owned());
            }
            // A hypervisor takes back what is free now.
            touch_memory(results.suite.touch_gb);
        }
        if let Some(measured) = case.measured() {
            run.command = work_out(measured, results)?;
            let recording = self.start_recording(stand, purpose)?;
            run.load = Some(match case.witness {
                Some(_) => self.witness(stand, &run.command, &topic)?,
                None => self.load(stand, &run.command, &topic)?,
            });
            if let Some(recording) = recording {
                let progress = &mut self.progress;
                let mut tick = || progress.tick();
                let stacks = recording.finish(&stand.load_cores, &self.interruption, &mut tick)?;
                results.profiles.push(Profile {
                    case: case.id.clone(),
                    broker: stand.contender.id.clone(),
                    stacks,
                });
            }
        }
        Ok(())
    }

    /// Samples of the broker, if the round is for that.
    fn start_recording(
        &self,
        stand: &Stand<'_>,
        purpose: Purpose,
    ) -> Result<Option<Recording>, CompareError> {
        let pid = stand.broker.pid;
        let Some(pid) = pid.filter(|_| purpose == Purpose::Profile) else {
            return Ok(None);
        };
        let file = self.folder.join("perf.data");
        Recording::start(pid, &stand.load_cores, file).map(Some)
    }

    fn settle(&mut self, pause: Duration) -> Result<(), CompareError> {
        let end = Instant::now() + pause;
        while Instant::now() < end {
            self.interruption.check()?;
            self.progress.tick();
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Runs one load and gives its result.
    fn load(
        &mut self,
        stand: &Stand<'_>,
        load: &str,
        topic: &str,
    ) -> Result<LoadResult, CompareError> {
        let mut command = Command::new(&self.programs.bench);
        command
            .args(["-b", &stand.broker.address, "load"])
            .args(load.split_whitespace())
            .args(["--output", "json"]);
        self.put_on(stand, command, load, topic)
    }

    /// Runs one tool of others and gives its result.
    fn witness(
        &mut self,
        stand: &Stand<'_>,
        witness: &str,
        topic: &str,
    ) -> Result<LoadResult, CompareError> {
        let mut command = Command::new("python3");
        command
            .arg(&self.programs.witness)
            .args(witness.split_whitespace())
            .args(["--bootstrap-server", &stand.broker.address]);
        self.put_on(stand, command, witness, topic)
    }

    /// Runs what prints a result, with what it is told of the broker and of its own place.
    fn put_on(
        &mut self,
        stand: &Stand<'_>,
        mut command: Command,
        load: &str,
        topic: &str,
    ) -> Result<LoadResult, CompareError> {
        let cores: Vec<String> = stand.load_cores.iter().map(ToString::to_string).collect();
        command.args(["--topic", topic, "--cores", &cores.join(",")]);
        if let Some(pid) = stand.broker.pid {
            command.args(["--broker-pid", &pid.to_string()]);
        }
        let within = Duration::from_secs_f64(plan::load_seconds(load, None)) + PATIENCE;
        let progress = &mut self.progress;
        let mut tick = || progress.tick();
        let cores = &stand.load_cores;
        let said = child::run(cores, &mut command, within, &self.interruption, &mut tick)?;
        LoadResult::parse(&said)
    }

    /// Makes room for the next load. A topic that stays is no reason to stop.
    fn remove_topic(&mut self, stand: &Stand<'_>, topic: &str) {
        if let Err(cause) = delete_topic(&stand.broker.address, topic, &stand.load_cores) {
            self.progress.say(&format!("topic {topic} stays: {cause}"));
        }
        if let Some(data) = &stand.broker.data {
            wait_until_gone(data, topic);
        }
        // What is still to be written would be written during the next load.
        nix::unistd::sync();
    }

    fn cores(&self, sharing: Sharing) -> (Vec<usize>, Vec<usize>) {
        match sharing {
            Sharing::Apart => (self.broker_cores.clone(), self.load_cores.clone()),
            Sharing::Shared => {
                let mut all = [self.broker_cores.as_slice(), &self.load_cores].concat();
                all.sort_unstable();
                all.dedup();
                (all.clone(), all)
            }
        }
    }
}

fn title(round: &Round<'_>, contender: &Contender, results: &Results, what: &str) -> String {
    let label = &contender.label;
    match round.purpose {
        Purpose::Measure => format!("round {}/{}, {label}: {what}", round.number, results.rounds),
        Purpose::Profile => format!("sampled, {label}: {what}"),
    }
}

/// A load with its expressions worked out, by the first figures that there were.
fn work_out(load: &str, results: &mut Results) -> Result<String, CompareError> {
    let mut text = load.to_owned();
    for expression in placeholders(load) {
        let value = known(&expression, results)?;
        text = text.replace(&format!("{{{expression}}}"), &format!("{value:.0}"));
    }
    Ok(text)
}

fn known(expression: &str, results: &mut Results) -> Result<f64, CompareError> {
    if let Some(value) = results.worked_out.get(expression) {
        return Ok(*value);
    }
    let summary = Summary::of(results);
    let figure = |reference: &_| Some(summary.spread(reference)?.median);
    let parsed = Expression::parse(expression).ok();
    let value = parsed.and_then(|parsed| parsed.value(&figure));
    let value = value.ok_or_else(|| CompareError::UnknownFigure(expression.to_owned()))?;
    let known: &mut BTreeMap<String, f64> = &mut results.worked_out;
    known.insert(expression.to_owned(), value);
    Ok(value)
}

fn topic(case: &str) -> String {
    format!("case-{case}")
}

fn told(run: &Run, turn: &Turn<'_>) -> String {
    let Turn { contender, case } = turn;
    let what = match (&run.failure, &run.load) {
        (Some(failure), _) => format!("FAILED: {failure}"),
        (None, Some(load)) => in_a_line(load),
        (None, None) => {
            let bytes = run.resident_bytes.unwrap_or(f64::NAN);
            format!("{:.0} MB resident", bytes / 1e6)
        }
    };
    format!(
        "round {}, {}, {} {}: {what}",
        run.round, contender.label, case.id, case.title
    )
}

fn in_a_line(load: &LoadResult) -> String {
    let rate = load.moved_bytes() / 1e6 / load.measured.seconds;
    let mut text = format!("{rate:.1} MB/s");
    if let Some(broker) = &load.broker {
        let cost = broker.cpu_seconds / (load.moved_bytes() / 1e9);
        text += &format!(", {cost:.2} broker CPU s/GB");
    }
    if let Some(latency) = &load.latency_us {
        let [p50, p99, p999] = [latency.p50, latency.p99, latency.p999].map(|us| us / 1e3);
        text += &format!(", p50/p99/p99.9 {p50:.2}/{p99:.2}/{p999:.2} ms");
    }
    text
}

fn make_empty(folder: &Path) -> Result<(), CompareError> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|cause| CompareError::file(folder, cause))?;
    }
    fs::create_dir_all(folder).map_err(|cause| CompareError::file(folder, cause))
}

fn delete_topic(address: &str, topic: &str, cores: &[usize]) -> Result<(), CompareError> {
    let refused = |cause: String| CompareError::Machine(cause);
    let (address, topic, cores) = (address.to_owned(), topic.to_owned(), cores.to_vec());
    let options = ShardOptions {
        name: "admin".to_owned(),
        ..ShardOptions::default()
    };
    // The shard's thread takes its cores from the one that starts it.
    let starting = thread::spawn(move || {
        bind_thread(&cores)?;
        let shard = start_shard(options, async move |reactor| {
            let config = ClientConfig::new(&address);
            let client = Client::connect(&reactor, config).await;
            let client = client.map_err(|cause| cause.to_string())?;
            let deleted = client.delete_topic(&topic).await;
            deleted.map(drop).map_err(|cause| cause.to_string())
        });
        shard
            .map_err(|cause| refused(cause.to_string()))?
            .join()
            .map_err(refused)
    });
    starting.join().expect("a shard's start does not panic")
}

/// Waits until the topic's folders are gone, renamed ones too.
fn wait_until_gone(data: &Path, topic: &str) {
    let deadline = Instant::now() + FILES_GONE_WITHIN;
    let start = format!("{topic}-");
    let is_there = || {
        let entries = fs::read_dir(data).into_iter().flatten().flatten();
        let mut names = entries.map(|entry| entry.file_name());
        names.any(|name| name.to_string_lossy().starts_with(&start))
    };
    while is_there() && Instant::now() < deadline {
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture;

    #[test]
    fn a_rate_that_was_worked_out_stays() {
        let mut results = fixture::results();
        let load = "end-to-end --rate {0.5 * kafka.produced_mb_s@1a} --size 10";
        let worked = work_out(load, &mut results).unwrap();
        assert_eq!(worked, "end-to-end --rate 150 --size 10");
        results.runs.clear();
        assert_eq!(work_out(load, &mut results).unwrap(), worked);
        let error = work_out("--rate {kafka.mb_s@9}", &mut results).unwrap_err();
        assert!(error.to_string().contains("kafka.mb_s@9"), "{error}");
    }

    #[test]
    fn a_topic_is_gone_when_its_folders_are() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("case-10-0")).unwrap();
        // Another case's folders are not waited for.
        wait_until_gone(data.path(), "case-1");
        assert!(data.path().join("case-10-0").exists());
    }
}
