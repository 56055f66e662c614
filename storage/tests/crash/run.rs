//! A run: a history of commands and other events on one disk, with what was promised when, and what the data were.

use std::collections::BTreeMap;

use hardtack_storage::engine::LoadError;
use hardtack_storage::log::SyncPolicy;
use hardtack_storage::testing::SimDisk;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::history;
use crate::store::Store;

/// What a run knows: moments are steps of the disk's recording.
#[derive(Clone, Default)]
pub struct Book {
    /// The data after each record, by the LSN of the log's end.
    pub states: BTreeMap<u64, String>,
    /// From this moment on everything before this LSN was acknowledged.
    acked: Vec<(usize, u64)>,
    /// From this moment on everything before this LSN had been synced.
    durable: Vec<(usize, u64)>,
    saves: Vec<Save>,
}

/// A SAVE or BGSAVE. One that failed has no end: its file may be there or not.
#[derive(Clone)]
struct Save {
    from: usize,
    to: Option<usize>,
    data: String,
}

fn at(marks: &[(usize, u64)], moment: usize) -> u64 {
    let before = marks.iter().filter(|(from, _)| *from <= moment);
    before.map(|(_, lsn)| *lsn).max().unwrap_or(0)
}

impl Book {
    /// What the log must reach after a power cut at a moment.
    pub fn promised(&self, policy: SyncPolicy, moment: usize) -> u64 {
        match policy {
            SyncPolicy::Always => at(&self.acked, moment).max(at(&self.durable, moment)),
            _ => at(&self.durable, moment),
        }
    }

    /// What it must reach after the death of the process at a moment.
    pub fn acked(&self, moment: usize) -> u64 {
        at(&self.acked, moment)
    }

    /// The data that the RDB file may hold at a moment; `None` stands for no file.
    pub fn saved(&self, moment: usize) -> Vec<Option<&str>> {
        let done = self
            .saves
            .iter()
            .rposition(|save| save.to.is_some_and(|to| to <= moment));
        let mut found = Vec::new();
        if done.is_none() {
            found.push(None);
        }
        let later = &self.saves[done.unwrap_or(0)..];
        let begun = later.iter().filter(|save| save.from <= moment);
        found.extend(begun.map(|save| Some(save.data.as_str())));
        found
    }

    /// Begins anew with what was found: nothing beyond `end` counts any more.
    pub fn go_on_from(&self, end: u64, saved: Option<String>) -> Book {
        let mut states = self.states.clone();
        states.split_off(&(end + 1));
        Book {
            states,
            acked: vec![(0, end)],
            durable: vec![(0, end)],
            saves: saved
                .map(|data| Save {
                    from: 0,
                    to: Some(0),
                    data,
                })
                .into_iter()
                .collect(),
        }
    }
}

/// A run under way.
pub struct Run {
    pub disk: SimDisk,
    pub policy: SyncPolicy,
    pub book: Book,
    open: Option<Store>,
    pub rng: StdRng,
}

impl Run {
    /// Opens an engine on a disk, whose recording begins here. `book` has what earlier runs on it knew.
    pub fn begin(disk: &SimDisk, policy: SyncPolicy, seed: u64, book: Book) -> Run {
        Run::try_begin(disk, policy, seed, book).expect("the directory opens")
    }

    /// The same, on a disk that may fail.
    pub fn try_begin(
        disk: &SimDisk,
        policy: SyncPolicy,
        seed: u64,
        book: Book,
    ) -> Result<Run, LoadError> {
        disk.record();
        let store = Store::open(disk, policy)?;
        let mut run = Run {
            disk: disk.clone(),
            policy,
            book,
            open: Some(store),
            rng: StdRng::seed_from_u64(seed),
        };
        run.note_data();
        run.note_durable();
        Ok(run)
    }

    /// The engine, which a restart replaces.
    pub fn store(&mut self) -> &mut Store {
        self.open.as_mut().expect("a run has a store")
    }

    /// Where the log ended after the last command.
    pub fn store_end(&self) -> u64 {
        *self
            .book
            .states
            .last_key_value()
            .expect("the beginning is there")
            .0
    }

    /// Commands and other events, so many.
    pub fn go(&mut self, events: usize) {
        for _ in 0..events {
            match self.rng.random_range(0..100) {
                0..78 => drop(self.command()),
                78..88 => drop(self.transaction()),
                88..93 => self.sync(),
                93..95 => drop(self.rewrite()),
                95..97 => drop(self.save()),
                97 => self.rotate(),
                98 => self.turn_log_off_and_on(),
                _ => self.restart(),
            }
        }
    }

    /// One random command, or nothing if the log takes no writes. False if it was not acknowledged.
    pub fn command(&mut self) -> bool {
        let args = history::command(&mut self.rng);
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let db = self.database();
        if self.store().refusal().is_some() {
            return false;
        }
        let answer = self.store().run(db, &args);
        self.answered(answer.lsn.0)
    }

    pub fn transaction(&mut self) -> bool {
        let commands = history::transaction(&mut self.rng);
        let db = self.database();
        if self.store().refusal().is_some() {
            return false;
        }
        let answer = self.store().transaction(db, &commands);
        self.answered(answer.lsn.0)
    }

    fn database(&mut self) -> u16 {
        match self.rng.random_range(0..5) {
            0 => 1,
            1 => 2,
            _ => 0,
        }
    }

    /// Notes what came of a command whose reply depends on `lsn`.
    fn answered(&mut self, lsn: u64) -> bool {
        let acked = self.store().acknowledge(hardtack_storage::Lsn(lsn));
        if acked {
            self.book.acked.push((self.disk.recorded(), lsn));
        }
        self.store().settle();
        self.note_data();
        self.note_durable();
        acked
    }

    pub fn note_data(&mut self) {
        let end = self.store().log().appended().0;
        let data = self.store().data();
        self.book.states.insert(end, data);
    }

    pub fn note_durable(&mut self) {
        let durable = self.store().log().durable().0;
        self.book.durable.push((self.disk.recorded(), durable));
    }

    pub fn sync(&mut self) {
        // A failed log says so when it is asked to write.
        let _ = self.store().log().sync_now();
        self.store().settle();
        self.note_durable();
    }

    pub fn rotate(&mut self) {
        self.store().log().rotate();
        self.store().settle();
    }

    pub fn rewrite(&mut self) -> bool {
        let done = self.store().rewrite();
        self.note_durable();
        done
    }

    /// SAVE or BGSAVE.
    pub fn save(&mut self) -> bool {
        let data = self.store().data();
        let from = self.disk.recorded();
        let done = match self.rng.random_bool(0.5) {
            true => self.store().engine.save().is_ok(),
            false => self.store().engine.save_in_background().is_ok(),
        };
        self.store().settle();
        let done = done && self.store().engine.snapshot_info().last_save_ok;
        let to = done.then(|| self.disk.recorded());
        self.book.saves.push(Save { from, to, data });
        done
    }

    /// A new log takes the place of the old one; meanwhile there is none.
    pub fn turn_log_off_and_on(&mut self) {
        let end = self.store().log().appended().0;
        let disk = self.disk.clone();
        disk.set_hook(None);
        self.store().engine.turn_log_off().expect("the log ends");
        self.book.durable.push((disk.recorded(), end));
        self.store().engine.turn_log_on().expect("a log begins");
        while self.store().engine.log().is_none() {
            std::thread::yield_now();
        }
        self.store().take_turns(&disk);
        self.store().settle();
        self.note_durable();
    }

    /// SHUTDOWN, and a start.
    pub fn restart(&mut self) {
        let end = self.store().log().appended().0;
        let data = self.store().data();
        let store = self.open.take().expect("a run has a store");
        store.close();
        self.book.durable.push((self.disk.recorded(), end));
        let store = Store::open(&self.disk, self.policy).expect("the directory opens again");
        self.open = Some(store);
        let log = self.store().log();
        assert_eq!(log.recovery_report().cut, None, "after a clean end");
        assert_eq!(log.appended().0, end, "after a clean end");
        assert_eq!(self.store().data(), data, "after a clean end");
        self.note_durable();
    }
}
