//! The folder of a node's data: locked, checked, and marked with who it belongs to.
//!
//! `meta.properties` is Kafka's: `version=1`, `cluster.id`, `node.id`, `directory.id`. A line of
//! our own, `millstream.format=1`, tells a folder of ours from one that Apache Kafka formatted,
//! whose metadata log only Kafka can read. A folder that has anything in it and is not ours is
//! refused and left as it is.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use millstream_protocol::topic_id_text::{format_topic_id, parse_topic_id};
use millstream_protocol::{NodeId, TopicId};
use millstream_reactor::{FileLock, FileSystem, Reactor};
use thiserror::Error;
use uuid::Uuid;

use crate::config::parse_properties;

const META_PROPERTIES: &str = "meta.properties";
const LOCK: &str = ".lock";
/// What may lie in a folder that nobody has used yet.
const IGNORED: &[&str] = &[LOCK, "lost+found"];
/// The version of our folders' layout.
const FORMAT: &str = "1";

/// A folder that this process alone uses.
pub struct DataFolder {
    /// The id of the cluster whose data it holds.
    pub cluster_id: String,
    /// The id of the folder itself; zeros if it was never given one.
    pub directory_id: Uuid,
    /// Keeps other processes out.
    pub lock: FileLock,
}

/// Why a folder cannot be used, and what to do.
#[derive(Debug, Error)]
pub enum DataFolderError {
    /// Another process has it.
    #[error(
        "{} is in use by another process; stop that one, or set log.dirs to another folder",
        path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// It belongs to somebody else.
    #[error("{} {what}; set log.dirs to another folder", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Whose it is, or what is in it.
        what: String,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
}

impl DataFolder {
    /// Makes the folder if it is missing, locks it, and checks whose it is.
    pub async fn open(
        reactor: &Reactor,
        path: &Path,
        node_id: NodeId,
    ) -> Result<DataFolder, DataFolderError> {
        let fs = reactor.fs();
        let io = |action, path: &Path, cause| DataFolderError::Io {
            action,
            path: path.to_owned(),
            cause,
        };
        fs.create_dir_all(path)
            .await
            .map_err(|cause| io("make", path, cause))?;
        let entries = fs
            .read_dir(path)
            .await
            .map_err(|cause| io("read", path, cause))?;
        let meta = path.join(META_PROPERTIES);
        let is_new = !entries.iter().any(|entry| entry.name == META_PROPERTIES);
        if is_new && let Some(entry) = entries.iter().find(|e| !IGNORED.contains(&e.name.as_str()))
        {
            let what = format!(
                "has no {META_PROPERTIES} and is not empty (it has {})",
                entry.name
            );
            return Err(DataFolderError::Foreign {
                path: path.to_owned(),
                what,
            });
        }
        let lock = match fs.lock(&path.join(LOCK)).await {
            Ok(lock) => lock,
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                return Err(DataFolderError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(cause) => return Err(io("lock", path, cause)),
        };
        let Owner {
            cluster_id,
            directory_id,
        } = if is_new {
            sync_ancestors(&fs, path)
                .await
                .map_err(|cause| io("flush the folder of", path, cause))?;
            let (cluster_id, directory_id) = (random_id(reactor), random_id(reactor));
            let text = format!(
                "version=1\ncluster.id={}\nnode.id={node_id}\ndirectory.id={}\n\
                 millstream.format={FORMAT}\n",
                format_topic_id(cluster_id),
                format_topic_id(directory_id)
            );
            fs.write_atomic(&meta, Bytes::from(text))
                .await
                .map_err(|cause| io("write", &meta, cause))?;
            Owner {
                cluster_id: format_topic_id(cluster_id),
                directory_id: directory_id.0,
            }
        } else {
            let text = fs
                .read(&meta)
                .await
                .map_err(|cause| io("read", &meta, cause))?;
            owner(&text, node_id).map_err(|what| DataFolderError::Foreign {
                path: path.to_owned(),
                what,
            })?
        };
        Ok(DataFolder {
            cluster_id,
            directory_id,
            lock,
        })
    }
}

/// Whose a folder is.
struct Owner {
    cluster_id: String,
    directory_id: Uuid,
}

/// The cluster's id, if the folder is this node's.
fn owner(text: &[u8], node_id: NodeId) -> Result<Owner, String> {
    let damaged = |why: &str| format!("has a {META_PROPERTIES} that cannot be read ({why})");
    let text = std::str::from_utf8(text).map_err(|_| damaged("it is not UTF-8"))?;
    let pairs = parse_properties(text).map_err(|error| damaged(&error.to_string()))?;
    let value = |key: &str| {
        pairs
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    };
    match value("millstream.format") {
        Some(FORMAT) => {}
        Some(other) => return Err(format!("has format {other}, which a newer version wrote")),
        None => {
            return Err("was formatted by Apache Kafka, whose metadata cannot be read here".into());
        }
    }
    let own = node_id.to_string();
    match value("node.id") {
        Some(found) if found == own => {}
        found => {
            let found = found.unwrap_or("none");
            return Err(format!(
                "belongs to node.id {found}, and this is node.id {own}"
            ));
        }
    }
    let cluster_id = value("cluster.id").ok_or_else(|| damaged("it has no cluster.id"))?;
    let directory_id = value("directory.id").and_then(parse_topic_id);
    Ok(Owner {
        cluster_id: cluster_id.to_owned(),
        directory_id: directory_id.unwrap_or_default().0,
    })
}

/// Makes the folder's name durable, and those of the folders it is in: some may be new.
async fn sync_ancestors(fs: &FileSystem, path: &Path) -> io::Result<()> {
    for folder in path.ancestors().skip(1) {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        match fs.sync_dir(folder).await {
            // A folder that we may not read is not one that we made.
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {}
            other => other?,
        }
    }
    Ok(())
}

/// An id, which Kafka writes as it writes those of topics.
fn random_id(reactor: &Reactor) -> TopicId {
    let id = Uuid::from_u64_pair(reactor.random_u64(), reactor.random_u64());
    TopicId(uuid::Builder::from_random_bytes(*id.as_bytes()).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_reactor::sim::{Simulation, SimulationOptions};

    fn try_open(prepare: &[(&str, &str)]) -> Result<String, String> {
        let simulation = Simulation::new(SimulationOptions::default());
        let node = simulation.add_node("node");
        let reactor = node.reactor();
        let files: Vec<_> = prepare
            .iter()
            .map(|(name, text)| (name.to_string(), text.to_string()))
            .collect();
        simulation.block_on(async move {
            let path = Path::new("/data");
            reactor.fs().create_dir_all(path).await.expect("made");
            for (name, text) in files {
                reactor
                    .fs()
                    .write_atomic(&path.join(name), text.into())
                    .await
                    .expect("written");
            }
            let first = DataFolder::open(&reactor, path, NodeId(1)).await;
            let first = first.map_err(|error| error.to_string())?;
            let second = DataFolder::open(&reactor, path, NodeId(1)).await;
            assert!(matches!(second, Err(DataFolderError::Locked { .. })));
            drop(first.lock);
            let again = DataFolder::open(&reactor, path, NodeId(1))
                .await
                .expect("it is free");
            assert_eq!(again.cluster_id, first.cluster_id);
            assert_eq!(again.directory_id, first.directory_id);
            Ok(again.cluster_id)
        })
    }

    #[test]
    fn a_new_folder_is_marked_and_known_again() {
        let cluster_id = try_open(&[("lost+found", "")]).expect("opened");
        assert_eq!(cluster_id.len(), 22);
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        for (files, words) in [
            (&[("photo.jpg", "")][..], "photo.jpg"),
            (
                &[("meta.properties", "version=1\nnode.id=1\ncluster.id=x\n")],
                "Apache Kafka",
            ),
            (
                &[(
                    "meta.properties",
                    "node.id=7\ncluster.id=x\nmillstream.format=1\n",
                )],
                "node.id 7",
            ),
            (&[("meta.properties", "millstream.format=2\n")], "newer"),
        ] {
            let error = try_open(files).expect_err("refused");
            assert!(error.contains(words), "{error}");
        }
    }
}
