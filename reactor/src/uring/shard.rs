//! A shard: one thread with its executor, ring and timers, and how it starts and ends.

use std::cell::Cell;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use glommio::{GlommioError, Latency, LocalExecutor, LocalExecutorBuilder, Placement, Shares};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::driver::drive;
use super::heap;
use super::lend::Lender;
use super::listener::Listener;
use super::ring::Ring;
use super::splice::PipePool;
use super::stream::{self, Network, Stream};
use super::task_table::TaskTable;
use super::timers::Timers;
use crate::reactor::{Backend, Reactor};
use crate::task::{Task, TaskQueue};

/// How long glommio lets a task queue run: for ever, since its timer loses wakes. Should the thread
/// be held up for that long just after the timer was set, glommio takes its queues for empty and
/// sleeps, and nothing that happens on our ring wakes it. What the timer is for, [`TaskTable`] does
/// after a number of polls.
const EXECUTOR_PREEMPTS_AFTER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Memory that glommio registers with its three rings, which carry none of our I/O: its minimum.
const EXECUTOR_IO_MEMORY: usize = 64 * 1024;

/// How a shard is started.
#[derive(Debug, Clone, Default)]
pub struct ShardOptions {
    /// The thread's name.
    pub name: String,
    /// The core it is bound to; any of the process's if not given.
    pub cpu: Option<usize>,
}

/// A running shard.
#[must_use = "a shard that nobody joins goes down with the process"]
pub struct ShardHandle<T> {
    thread: thread::JoinHandle<Option<T>>,
}

impl<T> ShardHandle<T> {
    /// Waits for the shard's future and gives its value.
    ///
    /// # Panics
    /// When the shard panicked, with its message.
    pub fn join(self) -> T {
        match self.thread.join() {
            Ok(value) => value.expect("a shard that was started runs its future to the end"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Whether the shard has ended, so that [`Self::join`] would not wait.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Starts a shard on a thread of its own and runs `main` there. When `main` ends, the shard's
/// other tasks are cancelled, its sockets and files closed, and the thread ends.
pub fn start_shard<T, F, Main>(options: ShardOptions, main: F) -> io::Result<ShardHandle<T>>
where
    T: Send + 'static,
    F: FnOnce(Reactor) -> Main + Send + 'static,
    Main: Future<Output = T> + 'static,
{
    heap::keep_freed();
    // The kernel's workers may run wherever the process may, also when the shard is bound.
    let workers = sched_getaffinity(Pid::from_raw(0))?;
    let (started, start) = mpsc::sync_channel(1);
    let thread =
        thread::Builder::new()
            .name(options.name.clone())
            .spawn(move || match Parts::new(&options, &workers) {
                Ok(parts) => {
                    let _ = started.send(Ok(()));
                    Some(parts.run(main))
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                    None
                }
            })?;
    match start.recv() {
        Ok(Ok(())) => Ok(ShardHandle { thread }),
        Ok(Err(error)) => {
            let _ = thread.join();
            Err(error)
        }
        Err(mpsc::RecvError) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(_) => unreachable!("the thread says how its start went"),
        },
    }
}

/// What a shard's thread is made of.
struct Parts {
    executor: LocalExecutor,
    tasks: Rc<TaskTable>,
    ring: Rc<Ring>,
}

impl Parts {
    fn new(options: &ShardOptions, workers: &CpuSet) -> io::Result<Parts> {
        if let Some(cpu) = options.cpu {
            let mut set = CpuSet::new();
            set.set(cpu)?;
            sched_setaffinity(Pid::from_raw(0), &set)?;
        }
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .name(&options.name)
            .io_memory(EXECUTOR_IO_MEMORY)
            .preempt_timer(EXECUTOR_PREEMPTS_AFTER)
            .make()
            .map_err(to_io_error)?;
        let tasks = TaskTable::install()?;
        let ring = Ring::new(tasks.wake_event(), workers)?;
        Ok(Parts {
            executor,
            tasks,
            ring,
        })
    }

    fn run<T, Main>(self, main: impl FnOnce(Reactor) -> Main) -> T
    where
        Main: Future<Output = T>,
    {
        let Parts {
            executor,
            tasks,
            ring,
        } = self;
        let value = executor.run(async {
            let timers = Rc::new(Timers::default());
            let shard = Rc::new(Shard::new(&tasks, &ring, &timers));
            let driver = drive(tasks.clone(), ring.clone(), timers);
            let driver = glommio::spawn_local_into(driver, shard.queues[0])
                .expect("the queue was just made")
                .detach();
            let reactor = Reactor {
                backend: Backend::Uring(shard),
            };
            let value = tasks.track(main(reactor)).await;
            tasks.stop();
            driver.await;
            while !tasks.is_empty() {
                // They are in other queues than this.
                glommio::executor().yield_task_queue_now().await;
            }
            value
        });
        ring.close();
        tasks.uninstall();
        value.expect("nothing stops the tasks before the main one has ended")
    }
}

/// One thread's reactor.
pub struct Shard {
    tasks: Rc<TaskTable>,
    pub(super) ring: Rc<Ring>,
    network: Rc<Network>,
    timers: Rc<Timers>,
    queues: [glommio::TaskQueueHandle; 3],
    random: RandomState,
    random_count: Cell<u64>,
}

impl Shard {
    fn new(tasks: &Rc<TaskTable>, ring: &Rc<Ring>, timers: &Rc<Timers>) -> Shard {
        let queue = |shares, name| {
            let shares = Shares::Static(shares);
            glommio::executor().create_task_queue(shares, Latency::NotImportant, name)
        };
        Shard {
            tasks: tasks.clone(),
            ring: ring.clone(),
            network: Rc::new(Network {
                ring: ring.clone(),
                timers: timers.clone(),
                pipes: PipePool::default(),
                lender: Lender::default(),
            }),
            timers: timers.clone(),
            queues: [
                queue(1000, "requests"),
                queue(500, "replication"),
                queue(50, "background"),
            ],
            random: RandomState::new(),
            random_count: Cell::new(0),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::now()
    }

    pub(crate) fn wall_clock_ms(&self) -> i64 {
        let ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()),
            Err(before) => i64::try_from(before.duration().as_millis()).map(|ms| -ms),
        };
        ms.expect("the clock is within 290 million years of the epoch")
    }

    pub(crate) fn random_u64(&self) -> u64 {
        // SipHash with a key from the system, over a counter.
        let count = self.random_count.get();
        self.random_count.set(count.wrapping_add(1));
        self.random.hash_one(count)
    }

    pub(crate) fn trim_heap(&self) {
        heap::trim();
    }

    pub(crate) fn spawn<T: 'static>(
        &self,
        queue: TaskQueue,
        future: impl Future<Output = T> + 'static,
    ) -> Task<T> {
        let (run, task) = Task::prepare(future);
        let queue = match queue {
            TaskQueue::Requests => self.queues[0],
            TaskQueue::Replication => self.queues[1],
            TaskQueue::Background => self.queues[2],
        };
        glommio::spawn_local_into(self.tasks.track(run), queue)
            .expect("the queues live as long as the executor")
            .detach();
        task
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        self.timers.sleep(duration).await;
    }

    pub(crate) async fn yield_now(&self) {
        glommio::executor().yield_now().await;
    }

    pub(crate) async fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        Listener::bind(&self.network, address)
    }

    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        stream::connect(&self.network, address).await
    }
}

fn to_io_error(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}
