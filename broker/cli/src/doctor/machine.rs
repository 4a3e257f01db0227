//! What a broker needs of this machine: kernel, limits, file system, clock, ports.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use millstream_net::port_owner;
use millstream_reactor::uring::{probe, supports_direct_io};
use nix::sys::statfs::{NFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};

use super::Finding;
use super::listeners::BrokerPlace;
use crate::arguments::DoctorArguments;
use crate::failure::Failure;
use crate::progress::size;

/// Locked memory that is enough for hundreds of shards.
const MEMLOCK_WANTED: u64 = 64 * 1024 * 1024;
/// Open files that are enough for ten thousand clients and as many partitions.
const OPEN_FILES_WANTED: u64 = 65_536;
/// Less free space than this part of the file system is little.
const FREE_WANTED_PERCENT: u64 = 10;

/// What there is to say about this machine.
pub fn findings(arguments: &DoctorArguments) -> Result<Vec<Finding>, Failure> {
    let place = match &arguments.config {
        Some(path) => BrokerPlace::read(path)?,
        None => BrokerPlace::of_defaults(),
    };
    let folder = arguments.data.clone().unwrap_or(place.folder);
    let mut findings = vec![kernel()];
    findings.extend(limits(&read("/proc/self/limits")));
    findings.extend(file_system(&nearest_existing(&folder)));
    findings.push(clock());
    findings.extend(
        place
            .listeners
            .iter()
            .map(|(host, port)| listener(host, *port)),
    );
    Ok(findings)
}

fn kernel() -> Finding {
    let release = read("/proc/sys/kernel/osrelease");
    match probe() {
        Ok(()) => Finding::ok("kernel", format!("Linux {}, with io_uring", release.trim())),
        // The message says itself what to do.
        Err(unsupported) => {
            let text = unsupported.to_string();
            let (text, mend) = match text.split_once("; ") {
                Some((text, mend)) => (text.to_owned(), mend.to_owned()),
                None => (
                    text,
                    "millstreamd needs it: mend it, or use another machine".to_owned(),
                ),
            };
            Finding::error("kernel", text, mend)
        }
    }
}

/// What a `/proc/PID/limits` says about locked memory and open files.
fn limits(table: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let limit = |name: &str| -> Option<u64> {
        let row = table.lines().find(|row| row.starts_with(name))?;
        let hard = row[name.len()..].split_whitespace().nth(1)?;
        match hard {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        }
    };
    let shown = |limit: u64, unit: &dyn Fn(u64) -> String| match limit {
        u64::MAX => "without a limit".to_owned(),
        limit => unit(limit),
    };
    if let Some(limit) = limit("Max locked memory") {
        let text = format!(
            "locked memory: {}",
            shown(limit, &|bytes| size(bytes as f64))
        );
        findings.push(match limit < MEMLOCK_WANTED {
            false => Finding::ok("limits", text),
            true => Finding::warning(
                "limits",
                format!("{text}, enough for few shards only"),
                "raise it to 64 MiB: LimitMEMLOCK=64M in the systemd unit, --ulimit memlock= for \
                 Docker, or /etc/security/limits.conf",
            ),
        });
    }
    if let Some(limit) = limit("Max open files") {
        let text = format!("open files: {}", shown(limit, &|files| files.to_string()));
        findings.push(match limit < OPEN_FILES_WANTED {
            false => Finding::ok("limits", text),
            true => Finding::warning(
                "limits",
                format!("{text}; each connection is one, and each partition in use some"),
                format!(
                    "raise it to {OPEN_FILES_WANTED}: LimitNOFILE= in the systemd unit, --ulimit \
                     nofile= for Docker, or /etc/security/limits.conf"
                ),
            ),
        });
    }
    findings
}

fn file_system(folder: &Path) -> Vec<Finding> {
    const SUBJECT: &str = "file system";
    let shown = folder.display();
    let mut findings = Vec::new();
    match supports_direct_io(folder) {
        Ok(true) => {
            findings.push(Finding::ok(
                SUBJECT,
                format!("{shown} can be written past the cache"),
            ));
        }
        Ok(false) => findings.push(Finding::error(
            SUBJECT,
            format!("{shown} cannot be written past the cache (O_DIRECT)"),
            "keep the data (log.dirs) on ext4, XFS or another file system that can",
        )),
        Err(error) => findings.push(Finding::error(
            SUBJECT,
            format!("{shown} cannot be written: {error}"),
            "give this user the right to, run as the broker's user, or name its folder with --data",
        )),
    }
    let Ok(system) = statfs(folder) else {
        return findings;
    };
    let kind = system.filesystem_type();
    if kind == TMPFS_MAGIC {
        findings.push(Finding::warning(
            SUBJECT,
            format!("{shown} is memory (tmpfs): all records are lost with the machine's power"),
            "keep the data (log.dirs) on a disk",
        ));
    } else if kind == NFS_SUPER_MAGIC {
        findings.push(Finding::warning(
            SUBJECT,
            format!("{shown} is on another machine (NFS): slow, and a flush promises less"),
            "keep the data (log.dirs) on a disk of this machine",
        ));
    } else if kind == OVERLAYFS_SUPER_MAGIC {
        findings.push(Finding::warning(
            SUBJECT,
            format!("{shown} is a container's own layer: it goes away with the container"),
            "mount a volume for the data (log.dirs)",
        ));
    }
    let bytes =
        |blocks: u64| blocks.saturating_mul(u64::try_from(system.block_size()).unwrap_or(0));
    let (free, total) = (bytes(system.blocks_available()), bytes(system.blocks()));
    let text = format!("{} of {} are free", size(free as f64), size(total as f64));
    findings.push(match free < total / 100 * FREE_WANTED_PERCENT {
        false => Finding::ok(SUBJECT, text),
        true => Finding::warning(
            SUBJECT,
            text,
            "make room, or let topics keep less: retention.bytes, retention.ms",
        ),
    });
    findings
}

/// Whether something keeps the clock right. How far it is off, only others know.
fn clock() -> Finding {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Finding::ok("clock", "kept right by systemd-timesyncd");
    }
    const KEEPERS: [&str; 5] = ["chronyd", "ntpd", "ntpd-rs", "openntpd", "ptp4l"];
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut names = processes.map(|process| read(&process.path().join("comm").to_string_lossy()));
    match names.find(|name| KEEPERS.contains(&name.trim())) {
        Some(name) => Finding::ok("clock", format!("kept right by {}", name.trim())),
        None => Finding::warning(
            "clock",
            "nothing seen here keeps it right; a container's host may",
            "run chrony or systemd-timesyncd: retention and look-ups by time go by the clock",
        ),
    }
}

/// Whether a broker could listen.
fn listener(host: &str, port: u16) -> Finding {
    const SUBJECT: &str = "port";
    let ip = match host {
        "" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        host => match host.parse() {
            Ok(ip) => ip,
            // A name of this machine: any address will do to see whether the port is free.
            Err(_) => IpAddr::from([0, 0, 0, 0]),
        },
    };
    let address = SocketAddr::new(ip, port);
    let shown = if host.is_empty() {
        "all addresses"
    } else {
        host
    };
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(SUBJECT, format!("{port} on {shown} is free for a broker")),
        Err(error) => taken(&error, address, shown),
    }
}

fn taken(error: &io::Error, address: SocketAddr, shown: &str) -> Finding {
    const SUBJECT: &str = "port";
    let port = address.port();
    let other = "choose another with `listeners`";
    match error.kind() {
        io::ErrorKind::AddrInUse => match port_owner(address) {
            Some(owner) if owner.name() == "millstreamd" => {
                Finding::ok(SUBJECT, format!("{port} on {shown} is served by {owner}"))
            }
            Some(owner) => Finding::warning(
                SUBJECT,
                format!("{port} on {shown} is taken by {owner}"),
                format!("if that is no broker of yours, stop it or {other}"),
            ),
            None => Finding::warning(
                SUBJECT,
                format!("{port} on {shown} is taken by a process of another user"),
                format!("`ss -ltnp` as root says which; stop it or {other}"),
            ),
        },
        io::ErrorKind::PermissionDenied => Finding::error(
            SUBJECT,
            format!("this user may not listen on {port}"),
            format!("{other}, or give the broker CAP_NET_BIND_SERVICE"),
        ),
        io::ErrorKind::AddrNotAvailable => Finding::error(
            SUBJECT,
            format!("this machine does not have the address {shown}"),
            "put one that it has into `listeners`; what clients dial goes into \
             `advertised.listeners`",
        ),
        _ => Finding::error(SUBJECT, format!("{port} on {shown}: {error}"), other),
    }
}

fn nearest_existing(folder: &Path) -> PathBuf {
    let mut ancestors = folder.ancestors();
    let found = ancestors
        .find(|path| path.is_dir())
        .unwrap_or(Path::new("."));
    match found.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => found.to_owned(),
    }
}

/// A small file of the kernel's; empty where it cannot be read.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn low_limits_are_told_with_their_mend() {
        let table = "Limit                     Soft Limit           Hard Limit           Units\n\
                     Max open files            1024                 4096                 files\n\
                     Max locked memory         unlimited            unlimited            bytes\n";
        let found = limits(table);
        assert_eq!(
            found[0],
            Finding::ok("limits", "locked memory: without a limit")
        );
        assert_eq!(found[1].level, Level::Warning);
        assert!(found[1].text.starts_with("open files: 4096"), "{found:?}");
        assert!(
            found[1]
                .mend
                .as_ref()
                .is_some_and(|mend| mend.contains("LimitNOFILE"))
        );
    }

    #[test]
    fn a_taken_port_is_told_with_who_has_it() {
        let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = holder.local_addr().expect("it is bound").port();
        let found = listener("127.0.0.1", port);
        assert_eq!(found.level, Level::Warning, "{found:?}");
        assert!(
            found.text.contains(&std::process::id().to_string()),
            "{found:?}"
        );
        drop(holder);
        assert_eq!(listener("localhost", port).level, Level::Ok);
        let elsewhere = listener("192.0.2.1", port);
        assert_eq!(elsewhere.level, Level::Error, "{elsewhere:?}");
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_looked_for_above() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(nearest_existing(&folder.path().join("a/b")), folder.path());
        assert_eq!(nearest_existing(Path::new("not-there")), Path::new("."));
        let found = file_system(folder.path());
        assert!(
            found
                .iter()
                .any(|finding| finding.text.contains("are free")),
            "{found:?}"
        );
    }
}
