//! The process's request to end: SIGTERM and SIGINT as a future.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use io_uring::{opcode, types};
use nix::errno::Errno;
use nix::libc;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::operation::Keep;
use crate::reactor::{Backend, Reactor};

/// What the handler writes; -1 before it is installed.
static HANDLER_EVENT: AtomicI32 = AtomicI32::new(-1);

/// The eventfd; readable for good once a signal has come.
static EVENT: Mutex<Option<Arc<OwnedFd>>> = Mutex::new(None);

/// Keeps SIGTERM and SIGINT from killing the process from now on; [`terminate_signal`] tells of
/// them, also of those that come before it is called.
pub fn catch_terminate_signals() -> io::Result<()> {
    install().map(drop)
}

/// Completes at the first SIGTERM or SIGINT since the first call of this or of
/// [`catch_terminate_signals`], at once if it has come already.
/// From the first poll on these signals no longer kill the process.
///
/// In simulation it never completes.
pub async fn terminate_signal(reactor: &Reactor) -> io::Result<()> {
    let Backend::Uring(shard) = &reactor.backend else {
        return std::future::pending().await;
    };
    let event = install()?;
    let poll = opcode::PollAdd::new(types::Fd(event.as_raw_fd()), libc::POLLIN as u32).build();
    // SAFETY: a poll names no memory; the operation keeps the eventfd.
    let (outcome, _) = unsafe { shard.ring.run(poll, Some(event), Keep::Nothing) }.await;
    outcome.count().map(drop)
}

fn install() -> io::Result<Arc<OwnedFd>> {
    let mut event = EVENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(event) = &*event {
        return Ok(event.clone());
    }
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let made = Arc::new(OwnedFd::from(EventFd::from_value_and_flags(0, flags)?));
    HANDLER_EVENT.store(made.as_raw_fd(), Ordering::SeqCst);
    let action = SigAction::new(
        SigHandler::Handler(on_signal),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        // SAFETY: the handler only makes a system call that is safe in handlers.
        unsafe { sigaction(signal, &action)? };
    }
    *event = Some(made.clone());
    Ok(made)
}

extern "C" fn on_signal(_: libc::c_int) {
    let interrupted = Errno::last();
    let one = 1_u64.to_ne_bytes();
    // SAFETY: the static eventfd is never closed, and `write` is safe in signal handlers.
    unsafe {
        libc::write(
            HANDLER_EVENT.load(Ordering::SeqCst),
            one.as_ptr().cast(),
            one.len(),
        );
    }
    interrupted.set();
}
