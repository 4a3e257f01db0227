//! The figures of one load, by name: bars, tables and charts all go by this list.

use super::load_result::{Latency, LoadResult, Moved};
use super::results::Run;

/// Bytes of a megabyte, as disks and networks count.
const MB: f64 = 1e6;
const GB: f64 = 1e9;

/// A figure.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// The name in bars and in JSON.
    pub name: &'static str,
    /// The name in tables.
    pub title: &'static str,
    /// The unit in tables.
    pub unit: &'static str,
    /// Whether less is better; none where neither is.
    pub less_is_better: Option<bool>,
    of: fn(&Run) -> Option<f64>,
}

impl Figure {
    /// The figure of a run; none where the run has none.
    pub fn of(&self, run: &Run) -> Option<f64> {
        (self.of)(run).filter(|value| value.is_finite())
    }
}

const MORE: Option<bool> = Some(false);
const LESS: Option<bool> = Some(true);

/// All figures, in the order of tables.
pub const FIGURES: &[Figure] = &[
    figure("mb_s", "Moved", "MB/s", MORE, |run| {
        per_second(run, LoadResult::moved_bytes).map(|rate| rate / MB)
    }),
    figure("records_s", "Records", "/s", MORE, |run| {
        per_second(run, LoadResult::moved_records)
    }),
    figure("produced_mb_s", "Produced", "MB/s", MORE, |run| {
        moved_mb_per_second(run, |load| load.produced.as_ref())
    }),
    figure(
        "produced_records_s",
        "Records produced",
        "/s",
        MORE,
        |run| {
            let load = run.load.as_ref()?;
            Some(load.produced.as_ref()?.records / load.measured.seconds)
        },
    ),
    figure("consumed_mb_s", "Consumed", "MB/s", MORE, |run| {
        moved_mb_per_second(run, |load| load.consumed.as_ref())
    }),
    figure("catch_up_mb_s", "Catch-up reader", "MB/s", MORE, |run| {
        let caught = run.load.as_ref()?.catch_up.as_ref()?;
        Some(caught.bytes / MB / caught.seconds)
    }),
    figure("connections_s", "Connections opened", "/s", MORE, |run| {
        let load = run.load.as_ref()?;
        Some(load.connections_opened? / load.measured.seconds)
    }),
    figure("cpu_s_per_gb", "Broker CPU per GB", "s", LESS, |run| {
        Some(cpu_seconds(run)? / (moved(run)?.moved_bytes() / GB))
    }),
    figure(
        "mb_per_cpu_s",
        "MB per broker CPU second",
        "MB",
        MORE,
        |run| Some(moved(run)?.moved_bytes() / MB / cpu_seconds(run)?),
    ),
    figure(
        "records_per_cpu_s",
        "Records per broker CPU second",
        "",
        MORE,
        |run| Some(moved(run)?.moved_records() / cpu_seconds(run)?),
    ),
    figure("broker_busy", "Broker, cores busy", "", LESS, |run| {
        Some(run.load.as_ref()?.broker.as_ref()?.busy)
    }),
    figure("client_busy", "Load, part of its cores", "", None, |run| {
        Some(run.load.as_ref()?.client.busy)
    }),
    figure("mean_ms", "Latency, mean", "ms", LESS, |run| {
        latency_ms(run, |latency| Some(latency.mean))
    }),
    figure("p50_ms", "Latency p50", "ms", LESS, |run| {
        latency_ms(run, |latency| Some(latency.p50))
    }),
    figure("p90_ms", "p90", "ms", LESS, |run| {
        latency_ms(run, |latency| latency.p90)
    }),
    figure("p99_ms", "p99", "ms", LESS, |run| {
        latency_ms(run, |latency| Some(latency.p99))
    }),
    figure("p999_ms", "p99.9", "ms", LESS, |run| {
        latency_ms(run, |latency| Some(latency.p999))
    }),
    figure("p9999_ms", "p99.99", "ms", LESS, |run| {
        latency_ms(run, |latency| latency.p9999)
    }),
    figure("max_ms", "max", "ms", LESS, |run| {
        latency_ms(run, |latency| latency.max)
    }),
    figure("resident_mb", "Resident memory", "MB", LESS, |run| {
        let sampled = run.load.as_ref().and_then(|load| load.broker.as_ref());
        let bytes = sampled.map(|broker| broker.resident_bytes);
        bytes.or(run.resident_bytes).map(|bytes| bytes / MB)
    }),
    figure(
        "disk_written_mb_s",
        "Written to the disk",
        "MB/s",
        None,
        |run| {
            let load = run.load.as_ref()?;
            Some(load.broker.as_ref()?.written_bytes? / MB / load.measured.seconds)
        },
    ),
    figure(
        "disk_read_mb_s",
        "Read from the disk",
        "MB/s",
        None,
        |run| {
            let load = run.load.as_ref()?;
            Some(load.broker.as_ref()?.read_bytes? / MB / load.measured.seconds)
        },
    ),
    figure("switches_s", "Context switches", "/s", LESS, |run| {
        let load = run.load.as_ref()?;
        let broker = load.broker.as_ref()?;
        let switches = broker.voluntary_switches? + broker.involuntary_switches?;
        Some(switches / load.measured.seconds)
    }),
];

const fn figure(
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    less_is_better: Option<bool>,
    of: fn(&Run) -> Option<f64>,
) -> Figure {
    Figure {
        name,
        title,
        unit,
        less_is_better,
        of,
    }
}

/// Whether there is a figure of that name.
pub fn is_figure(name: &str) -> bool {
    FIGURES.iter().any(|figure| figure.name == name)
}

/// The percentiles that a chart shows, with their names there.
pub const PERCENTILES: &[(&str, &str)] = &[
    ("p50_ms", "50 %"),
    ("p90_ms", "90 %"),
    ("p99_ms", "99 %"),
    ("p999_ms", "99.9 %"),
    ("p9999_ms", "99.99 %"),
    ("max_ms", "max"),
];

fn per_second(run: &Run, of: fn(&LoadResult) -> f64) -> Option<f64> {
    let load = moved(run)?;
    Some(of(load) / load.measured.seconds)
}

fn moved(run: &Run) -> Option<&LoadResult> {
    run.load.as_ref().filter(|load| load.moved_bytes() > 0.0)
}

fn cpu_seconds(run: &Run) -> Option<f64> {
    let seconds = run.load.as_ref()?.broker.as_ref()?.cpu_seconds;
    (seconds > 0.0).then_some(seconds)
}

fn moved_mb_per_second(run: &Run, of: fn(&LoadResult) -> Option<&Moved>) -> Option<f64> {
    let load = run.load.as_ref()?;
    Some(of(load)?.bytes / MB / load.measured.seconds)
}

fn latency_ms(run: &Run, of: fn(&Latency) -> Option<f64>) -> Option<f64> {
    let latency = run.load.as_ref()?.latency_us.as_ref()?;
    let micros = of(latency)?;
    (latency.count > 0.0).then_some(micros / 1e3)
}
