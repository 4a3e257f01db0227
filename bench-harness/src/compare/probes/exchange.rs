//! What it costs to take a record from a producer and hand it to a consumer, without a broker.
//!
//! The messages are as many as in Kafka's protocol for a record of 1 KiB by itself, and about as
//! large: a producer's request and its answer on one connection, a consumer's request and its answer
//! on another. The server waits with `epoll` and does nothing with what it reads. That is a measure,
//! not a bound: a ring may need fewer system calls.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{RATE, RECORD_BYTES, per_gb_in_and_out, thread_cpu_seconds};
use crate::compare::machine::bind_thread;
use crate::compare::suite::ProbeSizes;

/// A Produce request with one record; this size and the next ones are estimates.
const PRODUCE_REQUEST: usize = RECORD_BYTES + 150;
const PRODUCE_ANSWER: usize = 70;
/// A Fetch request within a fetch session that has nothing to change.
const FETCH_REQUEST: usize = 60;
const FETCH_ANSWER: usize = RECORD_BYTES + 150;

/// By which `epoll` tells the connections apart.
const PRODUCER: u64 = 0;
const CONSUMER: u64 = 1;

/// The server's CPU seconds for each GB in and out; none if it is not asked for.
pub(super) fn measure(
    sizes: &ProbeSizes,
    server_core: usize,
    client_core: usize,
) -> io::Result<Option<f64>> {
    let records = (sizes.exchange_seconds * f64::from(RATE)) as u64;
    if records == 0 {
        return Ok(None);
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let client = thread::spawn(move || {
        bind_thread(&[client_core]).map_err(io::Error::other)?;
        ask(
            TcpStream::connect(address)?,
            TcpStream::connect(address)?,
            records,
        )
    });
    let server = thread::spawn(move || {
        bind_thread(&[server_core]).map_err(io::Error::other)?;
        let (producer, consumer) = (listener.accept()?.0, listener.accept()?.0);
        serve(producer, consumer)
    });
    let cpu_seconds = server.join().expect("the server does not panic")?;
    client.join().expect("the client does not panic")?;
    Ok(Some(per_gb_in_and_out(cpu_seconds, records)))
}

/// Sends each record when it is due and waits until it is there.
fn ask(mut producer: TcpStream, mut consumer: TcpStream, records: u64) -> io::Result<()> {
    let mut space = [0; PRODUCE_REQUEST];
    producer.set_nodelay(true)?;
    consumer.set_nodelay(true)?;
    consumer.write_all(&space[..FETCH_REQUEST])?;
    let mut due = Instant::now();
    for _ in 0..records {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        producer.write_all(&space)?;
        producer.read_exact(&mut space[..PRODUCE_ANSWER])?;
        consumer.read_exact(&mut space[..FETCH_ANSWER])?;
        consumer.write_all(&space[..FETCH_REQUEST])?;
        due += Duration::from_secs(1) / RATE;
    }
    Ok(())
}

/// Answers until the producer is gone; the CPU seconds that it took.
fn serve(mut producer: TcpStream, mut consumer: TcpStream) -> io::Result<f64> {
    producer.set_nodelay(true)?;
    consumer.set_nodelay(true)?;
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    epoll.add(&producer, EpollEvent::new(EpollFlags::EPOLLIN, PRODUCER))?;
    epoll.add(&consumer, EpollEvent::new(EpollFlags::EPOLLIN, CONSUMER))?;
    let mut events = [EpollEvent::empty(); 2];
    let mut space = [0; PRODUCE_REQUEST];
    let mut received = 0;
    let used = thread_cpu_seconds()?;
    loop {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..ready] {
            if event.data() == CONSUMER {
                // Empty when the client is gone, which the producer's connection tells as well.
                let _ = consumer.read(&mut space)?;
                continue;
            }
            match producer.read(&mut space)? {
                0 => return Ok(thread_cpu_seconds()? - used),
                bytes => received += bytes,
            }
            if received == PRODUCE_REQUEST {
                received = 0;
                producer.write_all(&space[..PRODUCE_ANSWER])?;
                consumer.write_all(&space[..FETCH_ANSWER])?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::machine::available_cores;

    #[test]
    fn records_are_exchanged_on_schedule() {
        let sizes = |exchange_seconds| ProbeSizes {
            exchange_seconds,
            ..ProbeSizes::default()
        };
        let core = available_cores()[0];
        let began = Instant::now();
        let found = measure(&sizes(0.03), core, core).unwrap();
        assert!(found.unwrap() > 0.0);
        assert!(began.elapsed() >= Duration::from_millis(29));
        assert_eq!(measure(&sizes(0.0), core, core).unwrap(), None);
    }
}
