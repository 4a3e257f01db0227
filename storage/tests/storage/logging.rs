//! Faults that cost no records are told, each once; what is as it may be is not told.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_reactor::sim::{DiskFault, DiskOperation};
use millstream_storage::{LogConfig, StoreConfig};
use tracing::Level;
use tracing::subscriber::with_default;

use crate::harness::*;

/// Keeps the warnings and errors of a thread, a line for each.
#[derive(Clone, Default)]
pub struct Complaints {
    lines: Arc<Mutex<Vec<u8>>>,
}

impl Complaints {
    pub fn listen(&self, work: impl FnOnce()) {
        let complaints = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::WARN)
            .with_ansi(false)
            .with_writer(move || complaints.clone())
            .finish();
        with_default(subscriber, work);
    }

    pub fn take(&self) -> Vec<String> {
        let lines = std::mem::take(&mut *self.lines.lock().expect("no test panicked with it"));
        let lines = String::from_utf8(lines).expect("text");
        lines.lines().map(str::to_owned).collect()
    }
}

impl io::Write for Complaints {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.lines.lock().expect("no test panicked with it");
        lines.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A store that looks for nothing by itself.
fn quiet() -> StoreConfig {
    StoreConfig {
        initial_task_delay: Duration::from_secs(1 << 30),
        checkpoint_interval: Duration::from_secs(1 << 30),
        ..small_store()
    }
}

/// What is told when retention would remove everything and meets this fault.
fn told_of_retention(fault: DiskFault) -> Vec<String> {
    let complaints = Complaints::default();
    complaints.listen(|| {
        let (_simulation, node) = simulation(1);
        let disk = node.clone();
        run(&node, |reactor| async move {
            let config = LogConfig {
                segment_bytes: 1_000,
                retention_bytes: 0,
                ..LogConfig::default()
            };
            let opened = open(&reactor, quiet(), config).await.expect("opens");
            let mut model = Model::default();
            for _ in 0..5 {
                append(&opened.log, &mut model, 0, &batch(1, 300, 1));
            }
            opened.log.flush().await.expect("flushed");
            opened.log.set_high_watermark(opened.log.log_end_offset());
            // Checkpoints of full segments come to their end.
            reactor.sleep(Duration::from_secs(1)).await;
            disk.inject(fault);
            assert_eq!(opened.store.apply_retention().await, 0);
        });
    });
    complaints.take()
}

#[test]
fn segments_that_could_not_go_are_told() {
    let fault = DiskFault::new(DiskOperation::Write, "millstream-checkpoint", EIO);
    let told = told_of_retention(fault);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("stay until the next time"), "{told:?}");
}

#[test]
fn a_log_that_goes_offline_is_told_once() {
    let told = told_of_retention(DiskFault::new(DiskOperation::Directory, FIRST_LOG, EIO));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("goes offline"), "{told:?}");
}

#[test]
fn a_snapshot_that_cannot_be_removed_is_told_unless_it_is_gone() {
    let complaints = Complaints::default();
    let heard = complaints.clone();
    complaints.listen(|| {
        let (_simulation, node) = simulation(2);
        let disk = node.clone();
        run(&node, |reactor| async move {
            let config = LogConfig {
                producer_id_expiration_ms: i64::MAX,
                ..LogConfig::default()
            };
            let opened = open(&reactor, quiet(), config).await.expect("opens");
            let mut model = Model::default();
            let snapshot = |offset: i64| format!("{DIR}/{offset:020}.snapshot");
            for sequence in 0..3 {
                let bytes = produced(1, 10, (5, 0, sequence));
                append(&opened.log, &mut model, 0, &bytes);
                opened.store.checkpoint().await.expect("made");
                let told = heard.take();
                match sequence {
                    0 => {
                        let (fs, path) = (reactor.fs(), snapshot(1));
                        fs.remove_file(path.as_ref()).await.expect("it is there");
                    }
                    1 => {
                        assert_eq!(told, [""; 0]);
                        let fault = DiskOperation::Directory;
                        disk.inject(DiskFault::new(fault, snapshot(2), EIO));
                    }
                    _ => {
                        assert_eq!(told.len(), 1, "{told:?}");
                        assert!(told[0].contains("cannot remove"), "{told:?}");
                    }
                }
            }
        });
    });
}
