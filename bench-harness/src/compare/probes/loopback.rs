//! What one core receives over loopback.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::thread_cpu_seconds;
use crate::compare::machine::bind_thread;
use crate::compare::suite::ProbeSizes;

/// What it came to.
pub(super) struct Loopback {
    pub mb_s: f64,
    pub cpu_s_per_gb: f64,
}

/// One core receives what another one sends, by plain system calls on messages of the size asked.
pub(super) fn measure(sizes: &ProbeSizes, receiver: usize, sender: usize) -> io::Result<Loopback> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let seconds = Duration::from_secs_f64(sizes.loopback_seconds);
    let message = vec![0x5a_u8; sizes.message_bytes.max(1)];
    let sending = thread::spawn(move || -> io::Result<()> {
        bind_thread(&[sender]).map_err(io::Error::other)?;
        let mut stream = TcpStream::connect(address)?;
        let began = Instant::now();
        while began.elapsed() < seconds {
            stream.write_all(&message)?;
        }
        Ok(())
    });
    let len = sizes.message_bytes.max(1);
    let receiving = thread::spawn(move || -> io::Result<Loopback> {
        bind_thread(&[receiver]).map_err(io::Error::other)?;
        let (mut stream, _) = listener.accept()?;
        let mut buffer = vec![0; len];
        let (began, used) = (Instant::now(), thread_cpu_seconds()?);
        let mut received = 0;
        loop {
            match stream.read(&mut buffer)? {
                0 => break,
                bytes => received += bytes,
            }
        }
        Ok(Loopback {
            mb_s: received as f64 / 1e6 / began.elapsed().as_secs_f64(),
            cpu_s_per_gb: (thread_cpu_seconds()? - used) / (received as f64 / 1e9),
        })
    });
    let received = receiving.join().expect("the receiver does not panic");
    sending.join().expect("the sender does not panic")?;
    received
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::machine::available_cores;

    #[test]
    fn loopback_receives_all_that_is_sent() {
        let sizes = ProbeSizes {
            loopback_seconds: 0.05,
            message_bytes: 10_000,
            ..ProbeSizes::default()
        };
        let core = available_cores()[0];
        let found = measure(&sizes, core, core).unwrap();
        assert!(found.mb_s > 1.0 && found.cpu_s_per_gb > 0.0);
    }
}
