//! What a simulated disk holds: what programs see, what a power cut would leave, and the changes in between.
//!
//! Of a file there are two contents: `now`, the page cache, which every read sees, and `durable`, the platter. Writes
//! and changes of length wait in `pending` until a sync of the file. Names are kept the same way, but for the whole disk
//! in one list: a rename is one change of two names, and stays in one piece.
//!
//! A power cut applies a part of what is pending to what is durable:
//! * of each write, each sector (512 bytes or 4 KiB) is kept, dropped or torn (a part of the new, the rest as it was),
//!   independently, so that several unsynced writes of one sector leave any of its states;
//! * changes of length happen in order up to some point, whatever became of the contents: a file may have grown over
//!   sectors that were dropped, which then are zeros, or not have grown over ones that were kept;
//! * changes of names happen in order up to some point (a journal), or each by itself (no journal).
//!
//! Everything that changes a state is a [`Step`], so that a disk can be played again up to any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Number of a file or directory; never used twice.
pub(super) type NodeId = u64;

/// The directory that everything is in.
pub(super) const ROOT: NodeId = 0;

/// One change of a disk.
#[derive(Clone, Debug)]
pub(super) enum Step {
    CreateFile {
        dir: NodeId,
        name: String,
    },
    CreateDir {
        dir: NodeId,
        name: String,
    },
    Rename {
        from: (NodeId, String),
        to: (NodeId, String),
    },
    Remove {
        dir: NodeId,
        name: String,
    },
    Write {
        file: NodeId,
        at: u64,
        bytes: Arc<[u8]>,
    },
    /// A write past the cache: durable at once, alone.
    WriteThrough {
        file: NodeId,
        at: u64,
        bytes: Arc<[u8]>,
    },
    SetLen {
        file: NodeId,
        bytes: u64,
    },
    Allocate {
        file: NodeId,
        bytes: u64,
    },
    SyncFile {
        file: NodeId,
    },
    /// A sync that failed: some of what was pending is on the disk, the rest never will be.
    FailSync {
        file: NodeId,
        seed: u64,
    },
    SyncDir {
        dir: NodeId,
    },
}

/// A change of a file that no sync has covered.
#[derive(Clone)]
enum FileChange {
    Write { at: u64, bytes: Arc<[u8]> },
    Length(u64),
}

#[derive(Clone, Default)]
pub(super) struct FileNode {
    now: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    pending: Vec<FileChange>,
    /// Bytes reserved, whatever the length.
    allocated: u64,
    /// Names that programs see.
    links: u32,
}

#[derive(Clone, Default)]
pub(super) struct DirNode {
    now: BTreeMap<String, NodeId>,
    durable: BTreeMap<String, NodeId>,
}

#[derive(Clone)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

/// One name that changes its meaning.
#[derive(Clone)]
struct NameChange {
    dir: NodeId,
    name: String,
    old: Option<NodeId>,
    new: Option<NodeId>,
}

/// What a power cut does to what is pending, as one draw.
struct Storm {
    rng: StdRng,
    sector: u64,
    /// Per cent of the sectors that are kept.
    keep: u32,
    /// Per cent of the sectors that are torn.
    tear: u32,
    /// Per cent of the names' changes that are kept, where each is by itself.
    keep_names: u32,
    journalled: bool,
}

/// What becomes of a sector.
enum Fate {
    Kept,
    Dropped,
    /// The first so many bytes are new.
    Torn(usize),
}

impl Storm {
    fn draw(seed: u64) -> Storm {
        let mut rng = StdRng::seed_from_u64(seed);
        let shares = [0, 10, 50, 90, 100];
        Storm {
            sector: if rng.random_bool(0.5) { 512 } else { 4096 },
            keep: shares[rng.random_range(0..shares.len())],
            tear: [0, 0, 5, 30][rng.random_range(0..4)],
            keep_names: shares[rng.random_range(0..shares.len())],
            journalled: rng.random_bool(0.5),
            rng,
        }
    }

    fn percent(&mut self, share: u32) -> bool {
        self.rng.random_range(0..100) < share
    }

    fn fate(&mut self, bytes: usize) -> Fate {
        if self.percent(self.tear) {
            Fate::Torn(self.rng.random_range(0..=bytes))
        } else if self.percent(self.keep) {
            Fate::Kept
        } else {
            Fate::Dropped
        }
    }

    /// How many of `count` changes, in order, happened: none, all or some.
    fn prefix(&mut self, count: usize) -> usize {
        match self.rng.random_range(0..4) {
            0 => 0,
            1 => count,
            _ => self.rng.random_range(0..=count),
        }
    }
}

/// Puts `bytes` at `at`, with zeros before where the contents are shorter.
fn put(contents: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let end = at as usize + bytes.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[at as usize..end].copy_from_slice(bytes);
}

impl FileNode {
    pub(super) fn contents(&self) -> &Arc<Vec<u8>> {
        &self.now
    }

    fn write(&mut self, at: u64, bytes: &Arc<[u8]>) {
        put(Arc::make_mut(&mut self.now), at, bytes);
        self.pending.push(FileChange::Write {
            at,
            bytes: Arc::clone(bytes),
        });
    }

    /// What other writes left unsynced elsewhere stays so.
    fn write_through(&mut self, at: u64, bytes: &[u8]) {
        if self
            .pending
            .iter()
            .any(|change| matches!(change, FileChange::Length(_)))
        {
            // Lengths are journalled in order.
            self.sync();
        }
        put(Arc::make_mut(&mut self.now), at, bytes);
        put(Arc::make_mut(&mut self.durable), at, bytes);
        let end = at + bytes.len() as u64;
        for change in std::mem::take(&mut self.pending) {
            let FileChange::Write { at: from, bytes } = &change else {
                continue;
            };
            let to = from + bytes.len() as u64;
            if to <= at || end <= *from {
                self.pending.push(change);
                continue;
            }
            if *from < at {
                let before = bytes[..(at - from) as usize].into();
                self.pending.push(FileChange::Write {
                    at: *from,
                    bytes: before,
                });
            }
            if end < to {
                let after = bytes[(end - from) as usize..].into();
                self.pending.push(FileChange::Write {
                    at: end,
                    bytes: after,
                });
            }
        }
    }

    fn set_len(&mut self, bytes: u64) {
        Arc::make_mut(&mut self.now).resize(bytes as usize, 0);
        self.allocated = self.allocated.min(bytes);
        self.pending.push(FileChange::Length(bytes));
    }

    fn sync(&mut self) {
        let durable = Arc::make_mut(&mut self.durable);
        for change in self.pending.drain(..) {
            match change {
                FileChange::Write { at, bytes } => put(durable, at, &bytes),
                FileChange::Length(bytes) => durable.resize(bytes as usize, 0),
            }
        }
    }

    /// Reads go on to see what was written, or what is on the disk: by the seed.
    fn fail_sync(&mut self, seed: u64) {
        let mut storm = Storm::draw(seed);
        self.durable = self.after(&mut storm);
        self.pending.clear();
        if storm.percent(50) {
            self.now = Arc::clone(&self.durable);
        }
    }

    /// What a power cut leaves.
    fn after(&self, storm: &mut Storm) -> Arc<Vec<u8>> {
        if self.pending.is_empty() {
            return Arc::clone(&self.durable);
        }
        let mut contents = Vec::clone(&self.durable);
        let mut bytes = contents.len() as u64;
        let lengths = storm.prefix(self.pending.len());
        for (index, change) in self.pending.iter().enumerate() {
            match change {
                FileChange::Write { at, bytes: new } => {
                    put_sectors(&mut contents, *at, new, storm);
                    if index < lengths {
                        bytes = bytes.max(at + new.len() as u64);
                    }
                }
                FileChange::Length(new) if index < lengths => {
                    contents.truncate(*new as usize);
                    bytes = *new;
                }
                // What came after a truncation went to other blocks than what came before.
                FileChange::Length(new) if *new < contents.len() as u64 => break,
                FileChange::Length(_) => {}
            }
        }
        contents.resize(bytes as usize, 0);
        Arc::new(contents)
    }

    fn size(&self) -> u64 {
        self.allocated.max(self.now.len() as u64)
    }
}

/// Writes each sector as `storm` has it.
fn put_sectors(contents: &mut Vec<u8>, at: u64, bytes: &[u8], storm: &mut Storm) {
    let mut done = 0;
    while done < bytes.len() {
        let from = at + done as u64;
        let count = ((from / storm.sector + 1) * storm.sector - from) as usize;
        let piece = &bytes[done..bytes.len().min(done + count)];
        match storm.fate(piece.len()) {
            Fate::Kept => put(contents, from, piece),
            Fate::Torn(kept) => put(contents, from, &piece[..kept]),
            Fate::Dropped => {}
        }
        done += piece.len();
    }
}

/// A disk at one moment.
#[derive(Clone)]
pub(super) struct State {
    nodes: BTreeMap<NodeId, Node>,
    next: NodeId,
    names: Vec<Vec<NameChange>>,
}

impl State {
    /// An empty disk.
    pub(super) fn new() -> State {
        State {
            nodes: BTreeMap::from([(ROOT, Node::Dir(DirNode::default()))]),
            next: ROOT + 1,
            names: Vec::new(),
        }
    }

    pub(super) fn dir(&self, id: NodeId) -> Option<&BTreeMap<String, NodeId>> {
        match self.nodes.get(&id)? {
            Node::Dir(dir) => Some(&dir.now),
            Node::File(_) => None,
        }
    }

    pub(super) fn file(&self, id: NodeId) -> Option<&FileNode> {
        match self.nodes.get(&id)? {
            Node::File(file) => Some(file),
            Node::Dir(_) => None,
        }
    }

    /// Bytes in use: files that have a name, or that somebody has open.
    pub(super) fn used_bytes(&self, is_open: impl Fn(NodeId) -> bool) -> u64 {
        let sizes = self.nodes.iter().filter_map(|(id, node)| match node {
            Node::File(file) if file.links > 0 || is_open(*id) => Some(file.size()),
            _ => None,
        });
        sizes.sum()
    }

    /// Bytes that a file takes up, and would if it ended at `end`.
    pub(super) fn growth(&self, file: NodeId, end: u64) -> u64 {
        self.file(file)
            .map_or(0, |file| end.saturating_sub(file.size()))
    }

    /// The number that the next file or directory gets.
    pub(super) fn next_id(&self) -> NodeId {
        self.next
    }

    /// Carries out a step, which must be possible: names that it needs are there, the parents are directories.
    pub(super) fn apply(&mut self, step: &Step) {
        match step {
            Step::CreateFile { dir, name } => {
                self.add(*dir, name, Node::File(FileNode::default()));
            }
            Step::CreateDir { dir, name } => {
                self.add(*dir, name, Node::Dir(DirNode::default()));
            }
            Step::Rename { from, to } => {
                let moved = self.meaning(from);
                if from != to {
                    self.change(vec![(from.clone(), None), (to.clone(), moved)]);
                }
            }
            Step::Remove { dir, name } => self.change(vec![((*dir, name.clone()), None)]),
            Step::Write { file, at, bytes } => {
                self.with_file(*file, |file| file.write(*at, bytes));
            }
            Step::WriteThrough { file, at, bytes } => {
                self.with_file(*file, |file| file.write_through(*at, bytes));
            }
            Step::SetLen { file, bytes } => self.with_file(*file, |file| file.set_len(*bytes)),
            Step::Allocate { file, bytes } => {
                self.with_file(*file, |file| file.allocated = file.allocated.max(*bytes));
            }
            Step::SyncFile { file } => self.with_file(*file, FileNode::sync),
            Step::FailSync { file, seed } => self.with_file(*file, |file| file.fail_sync(*seed)),
            Step::SyncDir { dir } => {
                let (settled, rest) = std::mem::take(&mut self.names)
                    .into_iter()
                    .partition(|group| group.iter().any(|change| change.dir == *dir));
                self.names = rest;
                let settled: Vec<Vec<NameChange>> = settled;
                for group in &settled {
                    self.settle(group);
                }
            }
        }
    }

    /// What a power cut leaves: everything in it is durable.
    pub(super) fn crash(&self, seed: u64) -> State {
        self.crash_in(&mut Storm::draw(seed))
    }

    /// What a power cut leaves that is without mercy: what was synced, and nothing else.
    pub(super) fn crash_keeping_synced(&self) -> State {
        let mut settled = self.clone();
        settled.names.clear();
        for node in settled.nodes.values_mut() {
            if let Node::File(file) = node {
                file.pending.clear();
            }
        }
        settled.crash(0)
    }

    /// What the death of the process leaves: the operating system has it all, and writes it out in time.
    pub(super) fn settled(&self) -> State {
        let mut settled = self.clone();
        for group in std::mem::take(&mut settled.names) {
            settled.settle(&group);
        }
        for node in settled.nodes.values_mut() {
            if let Node::File(file) = node {
                file.sync();
                // What a failed sync forgot may still be in the cache: this is what is read.
                file.durable = Arc::clone(&file.now);
            }
        }
        settled.crash(0)
    }

    fn crash_in(&self, storm: &mut Storm) -> State {
        let mut after = self.clone();
        let groups = std::mem::take(&mut after.names);
        let in_order = storm.prefix(groups.len());
        for (index, group) in groups.iter().enumerate() {
            let kept = match storm.journalled {
                true => index < in_order,
                false => storm.percent(storm.keep_names),
            };
            if kept {
                after.settle(group);
            }
        }
        let reachable = after.reachable();
        after.nodes.retain(|id, _| reachable.contains_key(id));
        for (id, node) in &mut after.nodes {
            match node {
                Node::Dir(dir) => dir.now = dir.durable.clone(),
                Node::File(file) => {
                    let contents = file.after(storm);
                    *file = FileNode {
                        now: Arc::clone(&contents),
                        durable: contents,
                        pending: Vec::new(),
                        allocated: 0,
                        links: reachable[id],
                    };
                }
            }
        }
        after
    }

    /// What can be reached by durable names, and by how many.
    fn reachable(&self) -> BTreeMap<NodeId, u32> {
        let mut found = BTreeMap::from([(ROOT, 1)]);
        let mut ahead = vec![ROOT];
        while let Some(id) = ahead.pop() {
            if let Some(Node::Dir(dir)) = self.nodes.get(&id) {
                for child in dir.durable.values() {
                    let count = found.entry(*child).or_insert(0);
                    *count += 1;
                    if *count == 1 {
                        ahead.push(*child);
                    }
                }
            }
        }
        found
    }

    /// Forgets files and directories that nobody can come by any more.
    pub(super) fn collect(&mut self, is_open: impl Fn(NodeId) -> bool) {
        let mut kept: BTreeSet<NodeId> = BTreeSet::from([ROOT]);
        for node in self.nodes.values() {
            if let Node::Dir(dir) = node {
                kept.extend(dir.now.values().chain(dir.durable.values()));
            }
        }
        for change in self.names.iter().flatten() {
            kept.extend(change.old.iter().chain(&change.new));
            kept.insert(change.dir);
        }
        self.nodes.retain(|id, _| kept.contains(id) || is_open(*id));
    }

    fn add(&mut self, dir: NodeId, name: &str, node: Node) {
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, node);
        self.change(vec![((dir, name.to_owned()), Some(id))]);
    }

    fn meaning(&self, (dir, name): &(NodeId, String)) -> Option<NodeId> {
        self.dir(*dir)?.get(name).copied()
    }

    fn change(&mut self, changes: Vec<((NodeId, String), Option<NodeId>)>) {
        let mut group = Vec::new();
        for ((dir, name), new) in changes {
            let Some(Node::Dir(node)) = self.nodes.get_mut(&dir) else {
                continue;
            };
            let old = match new {
                Some(new) => node.now.insert(name.clone(), new),
                None => node.now.remove(&name),
            };
            if let Some(old) = old {
                self.count_link(old, -1);
            }
            if let Some(new) = new {
                self.count_link(new, 1);
            }
            group.push(NameChange {
                dir,
                name,
                old,
                new,
            });
        }
        self.names.push(group);
    }

    fn count_link(&mut self, id: NodeId, by: i32) {
        if let Some(Node::File(file)) = self.nodes.get_mut(&id) {
            file.links = file.links.saturating_add_signed(by);
        }
    }

    /// Makes a change of names durable.
    fn settle(&mut self, group: &[NameChange]) {
        for change in group {
            let Some(Node::Dir(dir)) = self.nodes.get_mut(&change.dir) else {
                continue;
            };
            match change.new {
                Some(new) => {
                    dir.durable.insert(change.name.clone(), new);
                }
                // Where the change that gave the name its last meaning was lost, its loss is of something else.
                None if dir.durable.get(&change.name).copied() == change.old => {
                    dir.durable.remove(&change.name);
                }
                None => {}
            }
        }
    }

    fn with_file(&mut self, id: NodeId, act: impl FnOnce(&mut FileNode)) {
        if let Some(Node::File(file)) = self.nodes.get_mut(&id) {
            act(file);
        }
    }
}
