//! Bounded mailboxes between cores: one producer, one consumer, a message moves ownership.
//!
//! The same code serves both backends: a wait-free ring, and a waker on either side. A waker of
//! another core goes through the executor's own cross-thread notification.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures::task::AtomicWaker;

/// The other side of the mailbox is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxClosed;

impl fmt::Display for MailboxClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other side of the mailbox is gone")
    }
}

impl std::error::Error for MailboxClosed {}

#[derive(Default)]
struct Wakers {
    sender: AtomicWaker,
    receiver: AtomicWaker,
}

/// The sending side; moves to the core that sends.
pub struct Sender<T> {
    ring: rtrb::Producer<T>,
    wakers: Arc<Wakers>,
}

/// The receiving side; moves to the core that receives.
pub struct Receiver<T> {
    ring: rtrb::Consumer<T>,
    wakers: Arc<Wakers>,
}

/// Makes a mailbox that holds at most `capacity` messages.
pub fn mailbox<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (producer, consumer) = rtrb::RingBuffer::new(capacity);
    let wakers = Arc::new(Wakers::default());
    (
        Sender {
            ring: producer,
            wakers: wakers.clone(),
        },
        Receiver {
            ring: consumer,
            wakers,
        },
    )
}

impl<T> Sender<T> {
    /// Sends without waiting; gives the message back when the mailbox is full or closed.
    pub fn try_send(&mut self, message: T) -> Result<(), T> {
        if self.ring.is_abandoned() {
            return Err(message);
        }
        match self.ring.push(message) {
            Ok(()) => {
                self.wakers.receiver.wake();
                Ok(())
            }
            Err(rtrb::PushError::Full(message)) => Err(message),
        }
    }

    /// Sends, waiting for room.
    pub async fn send(&mut self, message: T) -> Result<(), MailboxClosed> {
        let mut message = Some(message);
        poll_fn(|cx| {
            let wakers = self.wakers.clone();
            for registered in [false, true] {
                if self.ring.is_abandoned() {
                    return Poll::Ready(Err(MailboxClosed));
                }
                let unsent = message.take().expect("taken only when sent");
                match self.try_send(unsent) {
                    Ok(()) => return Poll::Ready(Ok(())),
                    Err(unsent) => message = Some(unsent),
                }
                if !registered {
                    wakers.sender.register(cx.waker());
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl<T> Receiver<T> {
    /// The next message, if one is there.
    pub fn try_recv(&mut self) -> Option<T> {
        let message = self.ring.pop().ok();
        if message.is_some() {
            self.wakers.sender.wake();
        }
        message
    }

    /// The next message; `None` when the sender is gone and all was received.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| {
            for registered in [false, true] {
                // Asked before the pop: what was sent before the sender went is still received.
                let abandoned = self.ring.is_abandoned();
                if let Some(message) = self.try_recv() {
                    return Poll::Ready(Some(message));
                }
                if abandoned {
                    return Poll::Ready(None);
                }
                if !registered {
                    self.wakers.receiver.register(cx.waker());
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // The ring is abandoned only after this drop; swapping in a dummy abandons it first.
        let (producer, _) = rtrb::RingBuffer::new(0);
        drop(std::mem::replace(&mut self.ring, producer));
        self.wakers.receiver.wake();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let (_, consumer) = rtrb::RingBuffer::new(0);
        drop(std::mem::replace(&mut self.ring, consumer));
        self.wakers.sender.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    #[test]
    fn messages_cross_threads_in_order_and_the_end_is_seen() {
        let (mut sender, mut receiver) = mailbox(4);
        let thread = std::thread::spawn(move || {
            block_on(async {
                for n in 0..10_000_u32 {
                    sender.send(n).await.expect("the receiver is alive");
                }
            });
        });
        block_on(async {
            for n in 0..10_000_u32 {
                assert_eq!(receiver.recv().await, Some(n));
            }
            assert_eq!(receiver.recv().await, None);
        });
        thread.join().expect("the sender does not panic");
    }

    #[test]
    fn a_sender_learns_that_the_receiver_is_gone() {
        let (mut sender, receiver) = mailbox(1);
        sender.try_send(1).expect("there is room");
        assert_eq!(sender.try_send(2), Err(2));
        drop(receiver);
        assert_eq!(block_on(sender.send(2)), Err(MailboxClosed));
    }
}
