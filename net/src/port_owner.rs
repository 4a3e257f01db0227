//! Who listens on a port, found in `/proc`.

use std::net::SocketAddr;
use std::path::Path;
use std::{fmt, fs};

/// A process of this machine that has a listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortOwner {
    pid: u32,
    name: String,
}

impl PortOwner {
    /// The program's name, as the kernel knows it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// The process that listens where `address` would, if it can be seen: a process that was killed has
/// let go of its sockets before the kernel has closed them, and another user's are hidden.
pub fn port_owner(address: SocketAddr) -> Option<PortOwner> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, address.port()))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut owners = processes.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        has_one_of(&entry.path(), &sockets).then(|| PortOwner {
            pid,
            name: fs::read_to_string(entry.path().join("comm"))
                .map_or_else(|_| "a process".into(), |name| name.trim().to_owned()),
        })
    });
    owners.next()
}

/// Inodes of the sockets that listen on `port`, in the text of a `/proc/net/tcp`.
fn listening_inodes(table: &str, port: u16) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let rows = table.lines().skip(1).filter_map(|row| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
        let listens = *fields.get(3)? == LISTEN;
        let same_port = u16::from_str_radix(local_port, 16) == Ok(port);
        (listens && same_port).then(|| fields.get(9)?.parse().ok())?
    });
    rows.collect()
}

fn has_one_of(process: &Path, sockets: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        fs::read_link(descriptor.path())
            .is_ok_and(|target| sockets.iter().any(|socket| target.as_os_str() == &**socket))
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_of_this_process_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let owner = port_owner(address).expect("it listens");
        assert_eq!(owner.pid, std::process::id());
        drop(listener);
        assert_eq!(port_owner(address), None);
    }

    #[test]
    fn only_listening_sockets_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:2384 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17\n\
             1: 0100007F:2384 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 18\n\
             2: 0100007F:2385 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 19\n\
             broken\n";
        assert_eq!(listening_inodes(table, 9092), [17]);
    }
}
