//! Faults that cost no records are told, each once; what is as it may be is not told.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_reactor::sim::{DiskFault, DiskOperation};
use millstream_storage::{LogConfig, StoreConfig};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::harness::*;

const EIO: i32 = 5;

/// Keeps the warnings and errors of a thread.
#[derive(Clone, Default)]
struct Complaints {
    texts: Arc<Mutex<Vec<String>>>,
}

impl Complaints {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.texts.lock().expect("no test panicked with it"))
    }
}

impl Subscriber for Complaints {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("millstream_storage") && *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let mut texts = self.texts.lock().expect("no test panicked with it");
        texts.push(text.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!("{}={value:?} ", field.name());
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
    with_default(complaints.clone(), || {
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
    with_default(complaints, || {
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
