//! What `millstream-bench load --output json` prints, and what a witness prints: one load on one
//! broker.
//!
//! Parts that a workload has no use for, or that a witness does not know, are null. Names that are not known here are passed over, so
//! that a result of a later version can still be read.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::CompareError;

/// One load on one broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadResult {
    /// Which workload.
    pub workload: String,
    /// All options as used.
    #[serde(default)]
    pub options: Value,
    /// The window that was measured.
    pub measured: Window,
    /// What was sent.
    #[serde(default)]
    pub produced: Option<Moved>,
    /// What was received.
    #[serde(default)]
    pub consumed: Option<Moved>,
    /// Connections, where opening them is the load.
    #[serde(default)]
    pub connections_opened: Option<f64>,
    /// From when latency counts: `from due` or `from send`.
    #[serde(default)]
    pub latency: Option<String>,
    /// Microseconds.
    #[serde(default)]
    pub latency_us: Option<Latency>,
    /// What a reader from the beginning got meanwhile.
    #[serde(default)]
    pub catch_up: Option<CatchUp>,
    /// One point a second.
    #[serde(default)]
    pub series: Vec<Second>,
    /// What the load itself cost.
    pub client: ClientCost,
    /// What it cost the broker, where its process is known.
    #[serde(default)]
    pub broker: Option<BrokerCost>,
}

/// A stretch of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Its length.
    pub seconds: f64,
}

/// Records that went one way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// How many.
    pub records: f64,
    /// Bytes of their keys and values.
    pub bytes: f64,
    /// Requests.
    #[serde(default)]
    pub requests: Option<f64>,
    /// Requests that failed.
    #[serde(default)]
    pub errors: Option<f64>,
}

/// Percentiles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Records.
    pub count: f64,
    /// The mean.
    pub mean: f64,
    /// Half of them took no longer.
    pub p50: f64,
    /// 90 %.
    #[serde(default)]
    pub p90: Option<f64>,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// 99.99 %.
    #[serde(default)]
    pub p9999: Option<f64>,
    /// The longest.
    #[serde(default)]
    pub max: Option<f64>,
}

/// What a reader from the beginning got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CatchUp {
    /// Records.
    pub records: f64,
    /// Bytes.
    pub bytes: f64,
    /// In so many seconds.
    pub seconds: f64,
}

/// One second of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Its number, from one.
    pub second: f64,
    /// Bytes sent.
    #[serde(default)]
    pub produced_bytes: Option<f64>,
    /// Bytes received.
    #[serde(default)]
    pub consumed_bytes: Option<f64>,
    /// The median.
    #[serde(default)]
    pub p50_us: Option<f64>,
    /// 99 %.
    #[serde(default)]
    pub p99_us: Option<f64>,
    /// The longest.
    #[serde(default)]
    pub max_us: Option<f64>,
}

/// What the load itself cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientCost {
    /// Its cores.
    #[serde(default)]
    pub cores: Vec<usize>,
    /// CPU time.
    pub cpu_seconds: f64,
    /// The part of its cores that it kept busy.
    pub busy: f64,
}

/// What a load cost the broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BrokerCost {
    /// CPU time.
    pub cpu_seconds: f64,
    /// Cores' worth that it kept busy.
    pub busy: f64,
    /// Resident memory at the end.
    pub resident_bytes: f64,
    /// Read from the disk.
    #[serde(default)]
    pub read_bytes: Option<f64>,
    /// Written to the disk.
    #[serde(default)]
    pub written_bytes: Option<f64>,
    /// Switches because it waited.
    #[serde(default)]
    pub voluntary_switches: Option<f64>,
    /// Switches because something else was to run.
    #[serde(default)]
    pub involuntary_switches: Option<f64>,
}

impl LoadResult {
    /// What a load has printed.
    ///
    /// # Errors
    /// It is no result.
    pub fn parse(text: &str) -> Result<LoadResult, CompareError> {
        serde_json::from_str(text.trim()).map_err(|cause| {
            let said: String = text.chars().take(200).collect();
            CompareError::LoadResult(format!("{cause}, in {said:?}"))
        })
    }

    /// Bytes of records in both directions, those of a catch-up reader included.
    pub fn moved_bytes(&self) -> f64 {
        let caught_up = self.catch_up.as_ref().map_or(0.0, |caught| caught.bytes);
        self.directions().map(|moved| moved.bytes).sum::<f64>() + caught_up
    }

    /// Records in both directions, those of a catch-up reader included.
    pub fn moved_records(&self) -> f64 {
        let caught_up = self.catch_up.as_ref().map_or(0.0, |caught| caught.records);
        self.directions().map(|moved| moved.records).sum::<f64>() + caught_up
    }

    fn directions(&self) -> impl Iterator<Item = &Moved> {
        self.produced.iter().chain(&self.consumed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What bench-harness/witness has printed.
    const WITNESS: &str = include_str!("../../witness/tests/kafka-e2e-latency.json");

    #[test]
    fn a_witness_tells_as_much_as_it_knows() {
        let told = LoadResult::parse(WITNESS).unwrap();
        assert_eq!(told.workload, "kafka-e2e-latency");
        assert_eq!(
            (told.moved_records(), told.moved_bytes()),
            (3998.0, 3998.0 * 1024.0)
        );
        let latency = told.latency_us.unwrap();
        assert!(latency.mean > 0.0 && latency.p50 <= latency.p999);
        assert_eq!(
            (latency.p90, latency.p9999, latency.max),
            (None, None, None)
        );
        let broker = told.broker.unwrap();
        assert!(broker.cpu_seconds > 0.0 && broker.written_bytes > Some(1e6));
        assert_eq!(broker.voluntary_switches, None);
    }

    #[test]
    fn what_everything_rests_on_is_not_left_out() {
        for name in ["\"measured\"", "\"cpu_seconds\"", "\"p50\""] {
            let text = WITNESS.replacen(name, "\"else\"", 1);
            assert!(LoadResult::parse(&text).is_err(), "{name}");
        }
    }
}
