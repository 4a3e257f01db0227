//! The lines of the log on their way out, by a thread of their own: a disk that stands still, or a
//! pipe that nobody reads, would otherwise hold up the shard that logs, and all it serves.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that may wait. What is logged beyond them is counted, and lost.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// Takes lines without waiting.
#[derive(Clone)]
pub struct LogWriter {
    queue: Sender<Message>,
    backlog: Arc<Backlog>,
}

enum Message {
    Line(Box<[u8]>),
    /// To be said when all before it is written.
    Flush(SyncSender<()>),
}

#[derive(Default)]
struct Backlog {
    bytes: AtomicUsize,
    lost_lines: AtomicU64,
}

impl LogWriter {
    /// Starts the thread, which writes to `target` until the last clone of the writer is gone. A
    /// line that `target` does not take is left out.
    pub fn start(target: impl Write + Send + 'static) -> io::Result<LogWriter> {
        let (queue, messages) = mpsc::channel();
        let backlog = Arc::<Backlog>::default();
        let writer = LogWriter {
            queue,
            backlog: backlog.clone(),
        };
        thread::Builder::new()
            .name("log".into())
            .spawn(move || write_all(&messages, &backlog, target))?;
        Ok(writer)
    }

    /// Waits until what was logged before is written, at most `timeout`.
    pub fn flush(&self, timeout: Duration) {
        let (done, is_done) = mpsc::sync_channel(1);
        if self.queue.send(Message::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(timeout);
        }
    }

    fn log(&self, line: &[u8]) {
        let waiting = self.backlog.bytes.fetch_add(line.len(), Ordering::Relaxed);
        if waiting > WAITING_BYTES_MAX || self.queue.send(Message::Line(line.into())).is_err() {
            self.backlog.bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.backlog.lost_lines.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = &'a LogWriter;

    fn make_writer(&'a self) -> &'a LogWriter {
        self
    }
}

/// Each write is a line.
impl Write for &LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.log(line);
        Ok(line.len())
    }

    /// Waits for nothing: see [`LogWriter::flush`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(messages: &Receiver<Message>, backlog: &Backlog, mut target: impl Write) {
    for message in messages {
        match message {
            Message::Line(line) => {
                let _ = target.write_all(&line);
                backlog.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                let lost = backlog.lost_lines.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let _ = writeln!(
                        target,
                        "millstreamd: {lost} lines of the log were lost: \
                         they came faster than they could be written"
                    );
                }
            }
            Message::Flush(done) => {
                let _ = target.flush();
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    /// Holds writes up until it is opened, and keeps them.
    #[derive(Clone, Default)]
    struct Gate {
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.written.lock().expect("the gate").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Gate {
        fn said(&self) -> String {
            String::from_utf8(self.written.lock().expect("the gate").clone()).expect("text")
        }
    }

    #[test]
    fn lines_come_out_in_order_and_a_flush_waits_for_them() {
        let gate = Gate::default();
        let log = LogWriter::start(gate.clone()).expect("a thread");
        for line in ["one\n", "two\n"] {
            (&log).write_all(line.as_bytes()).expect("taken");
        }
        log.flush(SOON);
        assert_eq!(gate.said(), "one\ntwo\n");
    }

    #[test]
    fn who_logs_does_not_wait_and_what_is_too_much_is_counted() {
        let gate = Gate::default();
        let shut = gate.written.lock().expect("the gate");
        let log = LogWriter::start(gate.clone()).expect("a thread");
        let line = [vec![b'x'; (1 << 20) - 1], vec![b'\n']].concat();
        for _ in 0..20 {
            log.log(&line);
        }
        log.flush(Duration::from_millis(1));
        drop(shut);
        log.flush(SOON);
        let said = gate.said();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(
            lines.len(),
            18,
            "one being written, 16 waiting, and what is said of the others"
        );
        assert!(
            lines[1].contains(": 3 lines of the log were lost"),
            "{}",
            lines[1]
        );
    }
}
