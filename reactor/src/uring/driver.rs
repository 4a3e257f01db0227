//! The task that moves the shard on: it fires timers, takes completions and wakes from other
//! threads, submits, and puts the thread to sleep when no task can run.
//!
//! Its turn comes when no task is ready any more, and after a bounded number of polls otherwise;
//! so the submissions of many tasks share one system call, and nothing waits for it long.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::ring::Ring;
use super::task_table::TaskTable;
use super::timers::Timers;

/// Drives the shard until it stops.
pub(super) async fn drive(tasks: Rc<TaskTable>, ring: Rc<Ring>, timers: Rc<Timers>) {
    poll_fn(|cx| {
        tasks.set_driver(cx.waker());
        loop {
            ring.reap();
            tasks.receive_wakes();
            timers.fire();
            if tasks.is_stopping() {
                return Poll::Ready(());
            }
            if tasks.has_ready() {
                if ring.wants_submit() {
                    ring.submit();
                    ring.reap();
                }
                return Poll::Pending;
            }
            tasks.sleep(|| ring.submit_and_wait(timers.until_next()));
        }
    })
    .await;
}
