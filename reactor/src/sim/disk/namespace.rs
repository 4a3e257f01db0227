//! The folders of a disk: what they list now, what they would list after a crash, and the changes
//! in between.
//!
//! A change (create, rename, remove) happens wholly or not at all, and after every earlier change
//! of the same name or the same file; changes that have nothing to do with each other are kept
//! or lost independently until the folder is synced.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Component, Path};

use nix::errno::Errno;

use super::super::node::KeepUnsynced;
use super::super::random::Random;

/// A file or folder, whatever its name.
pub(in crate::sim) type Inode = u64;

/// The folder that is always there.
pub(super) const ROOT: Inode = 0;

/// Changes held before the oldest is written back, as a journal does by itself.
const MAX_UNSYNCED_CHANGES: usize = 8192;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) inode: Inode,
    pub(super) is_dir: bool,
}

/// A name in a folder, whether something is there or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) dir: Inode,
    pub(super) name: String,
}

type Tree = BTreeMap<Inode, BTreeMap<String, Entry>>;

#[derive(Default)]
pub(super) struct Namespace {
    current: Tree,
    durable: Tree,
    unsynced: VecDeque<Change>,
}

struct Change {
    sequence: u64,
    /// What each name stands for afterwards.
    entries: Vec<(Place, Option<Entry>)>,
    /// Files and folders it is about.
    inodes: Vec<Inode>,
}

impl Change {
    fn apply(&self, tree: &mut Tree) {
        for (place, entry) in &self.entries {
            let names = tree.entry(place.dir).or_default();
            match entry {
                Some(entry) => names.insert(place.name.clone(), *entry),
                None => names.remove(&place.name),
            };
        }
    }

    fn touches(&self, dir: Inode) -> bool {
        self.entries.iter().any(|(place, _)| place.dir == dir)
    }

    /// Whether `self` cannot be without the `earlier` one.
    fn needs(&self, earlier: &Change) -> bool {
        let same_inode = |inode| earlier.inodes.contains(inode);
        let same_place = |(place, _): &(Place, _)| {
            let mut entries = earlier.entries.iter();
            entries.any(|(earlier, _)| earlier == place)
        };
        self.inodes.iter().any(same_inode) || self.entries.iter().any(same_place)
    }
}

impl Namespace {
    /// What `path` stands for.
    pub(super) fn find(&self, path: &Path) -> Result<Entry, Errno> {
        find(&self.current, path)
    }

    pub(super) fn find_durable(&self, path: &Path) -> Result<Entry, Errno> {
        find(&self.durable, path)
    }

    /// The folder and name that `path` names; the folder must be there.
    pub(super) fn place(&self, path: &Path) -> Result<Place, Errno> {
        let mut names = names(path);
        let name = names.pop().ok_or(Errno::EINVAL)?;
        let dir = find_names(&self.current, &names)?;
        if !dir.is_dir {
            return Err(Errno::ENOTDIR);
        }
        Ok(Place {
            dir: dir.inode,
            name,
        })
    }

    pub(super) fn entry(&self, place: &Place) -> Option<Entry> {
        self.current.get(&place.dir)?.get(&place.name).copied()
    }

    pub(super) fn list(&self, dir: Inode) -> impl Iterator<Item = (&String, &Entry)> {
        self.current.get(&dir).into_iter().flatten()
    }

    pub(super) fn add(&mut self, sequence: u64, place: Place, entry: Entry) {
        self.change(Change {
            sequence,
            entries: vec![(place, Some(entry))],
            inodes: vec![entry.inode],
        });
    }

    /// Adds an entry that is durable at once.
    pub(super) fn plant(&mut self, place: Place, entry: Entry) {
        let change = Change {
            sequence: 0,
            entries: vec![(place, Some(entry))],
            inodes: Vec::new(),
        };
        change.apply(&mut self.current);
        change.apply(&mut self.durable);
    }

    pub(super) fn remove(&mut self, sequence: u64, place: Place) -> Result<Entry, Errno> {
        let entry = self.entry(&place).ok_or(Errno::ENOENT)?;
        if entry.is_dir && self.list(entry.inode).next().is_some() {
            return Err(Errno::ENOTEMPTY);
        }
        self.change(Change {
            sequence,
            entries: vec![(place, None)],
            inodes: vec![entry.inode],
        });
        Ok(entry)
    }

    /// Moves what is at `from`, replacing a file, or an empty folder by a folder.
    pub(super) fn rename(&mut self, sequence: u64, from: Place, to: Place) -> Result<(), Errno> {
        let entry = self.entry(&from).ok_or(Errno::ENOENT)?;
        if from == to {
            return Ok(());
        }
        let mut inodes = vec![entry.inode];
        if let Some(replaced) = self.entry(&to) {
            match (entry.is_dir, replaced.is_dir) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) if self.list(replaced.inode).next().is_some() => {
                    return Err(Errno::ENOTEMPTY);
                }
                _ => inodes.push(replaced.inode),
            }
        }
        if entry.is_dir && self.is_within(to.dir, entry.inode) {
            return Err(Errno::EINVAL);
        }
        self.change(Change {
            sequence,
            entries: vec![(from, None), (to, Some(entry))],
            inodes,
        });
        Ok(())
    }

    /// Makes durable what changed in `dir` before the change numbered `end`.
    pub(super) fn sync(&mut self, dir: Inode, end: u64) {
        let wanted: Vec<bool> = self
            .unsynced
            .iter()
            .map(|change| change.sequence < end && change.touches(dir))
            .collect();
        let kept = self.with_needed(wanted);
        self.make_durable(&kept);
    }

    /// A sync that failed: some of what it should have made durable is.
    pub(super) fn fail_sync(&mut self, dir: Inode, end: u64, random: &mut Random) {
        let wanted: Vec<bool> = self
            .unsynced
            .iter()
            .map(|change| change.sequence < end && change.touches(dir) && random.coin())
            .collect();
        let kept = self.with_needed(wanted);
        self.make_durable(&kept);
    }

    pub(super) fn crash(&mut self, keep: KeepUnsynced, random: &mut Random) {
        if keep == KeepUnsynced::All {
            return;
        }
        if keep == KeepUnsynced::Random {
            let probability = [0.0, 0.1, 0.5, 0.9, 1.0][random.index(5)];
            let mut kept: Vec<bool> = Vec::with_capacity(self.unsynced.len());
            for (index, change) in self.unsynced.iter().enumerate() {
                let mut earlier = self.unsynced.iter().take(index).zip(&kept);
                let possible = earlier.all(|(earlier, kept)| *kept || !change.needs(earlier));
                kept.push(possible && random.chance(probability));
            }
            self.make_durable(&kept);
        }
        self.unsynced.clear();
        self.current = self.durable.clone();
    }

    /// Everything that has a name now, or may have one after a crash.
    pub(super) fn reachable(&self) -> BTreeSet<Inode> {
        let mut reachable = self.linked();
        reachable.extend(self.durable.values().flat_map(inodes));
        for change in &self.unsynced {
            reachable.extend(&change.inodes);
        }
        // Folders keep their names for as long as they are kept themselves.
        reachable
    }

    /// Everything that has a name now.
    pub(super) fn linked(&self) -> BTreeSet<Inode> {
        let mut linked: BTreeSet<Inode> = self.current.values().flat_map(inodes).collect();
        linked.insert(ROOT);
        linked
    }

    /// Forgets folders that cannot be found any more. Whether there were any.
    pub(super) fn forget_unreachable(&mut self, reachable: &BTreeSet<Inode>) -> bool {
        let before = self.current.len() + self.durable.len();
        self.current.retain(|dir, _| reachable.contains(dir));
        self.durable.retain(|dir, _| reachable.contains(dir));
        self.current.len() + self.durable.len() < before
    }

    fn is_within(&self, dir: Inode, ancestor: Inode) -> bool {
        dir == ancestor
            || self
                .list(ancestor)
                .any(|(_, entry)| entry.is_dir && self.is_within(dir, entry.inode))
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.unsynced.push_back(change);
        if self.unsynced.len() > MAX_UNSYNCED_CHANGES {
            // The oldest needs none before it.
            let oldest = self.unsynced.pop_front();
            oldest.expect("more than none").apply(&mut self.durable);
        }
    }

    /// Adds to the wanted changes those that they need.
    fn with_needed(&self, mut wanted: Vec<bool>) -> Vec<bool> {
        for index in (0..wanted.len()).rev() {
            if !wanted[index] {
                continue;
            }
            let change = &self.unsynced[index];
            for (earlier, wanted) in self.unsynced.iter().zip(&mut wanted[..index]) {
                *wanted = *wanted || change.needs(earlier);
            }
        }
        wanted
    }

    fn make_durable(&mut self, kept: &[bool]) {
        let changes = std::mem::take(&mut self.unsynced);
        for (change, kept) in changes.into_iter().zip(kept) {
            if *kept {
                change.apply(&mut self.durable);
            } else {
                self.unsynced.push_back(change);
            }
        }
    }
}

fn inodes(names: &BTreeMap<String, Entry>) -> impl Iterator<Item = Inode> {
    names.values().map(|entry| entry.inode)
}

/// The names of a path from the root; relative paths begin there too.
pub(super) fn names(path: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => {
                names.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    names
}

fn find(tree: &Tree, path: &Path) -> Result<Entry, Errno> {
    find_names(tree, &names(path))
}

fn find_names(tree: &Tree, names: &[String]) -> Result<Entry, Errno> {
    let mut entry = Entry {
        inode: ROOT,
        is_dir: true,
    };
    for name in names {
        if !entry.is_dir {
            return Err(Errno::ENOTDIR);
        }
        let found = tree.get(&entry.inode).and_then(|names| names.get(name));
        entry = *found.ok_or(Errno::ENOENT)?;
    }
    Ok(entry)
}
