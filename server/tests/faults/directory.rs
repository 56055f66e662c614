//! What happens to the data directory: another server, a disk that is full, a directory that is gone, a backup.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{info, log_files};
use crate::support::{Client, Kind, Reply, Server};

/// The error that a command is answered with.
fn error(reply: Reply) -> String {
    match reply {
        Reply::Error(text) => text,
        other => panic!("an error was expected: {other}"),
    }
}

/// The files below a directory, with their contents.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => found.push((path.clone(), fs::read(&path).expect("a file"))),
        }
    }
    found.sort();
    found
}

#[test]
fn fault_34_second_server_on_a_directory_ends_and_touches_nothing() {
    for appendonly in ["yes", "no"] {
        let first = Server::start(
            Kind::Hardtack,
            &[("appendonly", appendonly), ("appendfsync", "always")],
        );
        let mut client = first.client();
        client.ok("SET key value");
        client.ok("SAVE");
        let before = contents(&first.data_dir());
        let mut second = Server::beside(&first, &[("appendonly", appendonly)]);
        let status = second.start_in_vain(|_| ());
        assert_eq!(status.code(), Some(1), "{}", second.log_tail());
        assert!(
            second.log().contains("in use by another process"),
            "{}",
            second.log_tail()
        );
        assert!(
            contents(&first.data_dir()) == before,
            "the second server has changed something"
        );
        client.ok("SET key other");
        assert_eq!(client.ok("GET key").text(), "other");
    }
}

/// SETs until one is refused; returns the refusal. Whoever waits for an answer when the log fails gets none: his connection
/// is closed, because nobody can say whether his write will be kept.
fn write_until_refused(server: &Server, value: &str, acked: &mut u64) -> (Client, String) {
    let mut client = server.client();
    for _ in 0..200_000 {
        match client.try_call(&["SET", &format!("key{acked}"), value]) {
            Ok(Reply::Error(text)) => return (client, text),
            Ok(_) => *acked += 1,
            Err(_) => client = server.client(),
        }
    }
    panic!("no write was refused");
}

#[test]
fn fault_35_directory_removed_while_running_refuses_writes_and_is_not_made_anew() {
    for policy in ["always", "everysec"] {
        let mut server = Server::start(Kind::Hardtack, &[("appendfsync", policy)]);
        server.client().ok("SET first value");
        let data = server.data_dir();
        fs::remove_dir_all(&data).expect("remove");
        let (mut client, refusal) = write_until_refused(&server, "v", &mut 0);
        assert!(refusal.starts_with("MISCONF "), "{refusal}");
        assert!(
            refusal.contains("removed, or its file system unmounted"),
            "{refusal}"
        );
        assert_eq!(client.ok("GET first").text(), "value");
        assert_eq!(info(&mut client, "aof_last_write_status"), "err");
        let told = error(client.call(&["BGREWRITEAOF"]));
        assert!(told.contains("unmounted"), "{told}");
        assert!(!data.exists());
        // Something is there again, but not what was: an empty mount point, say.
        fs::create_dir(&data).expect("the directory");
        for command in ["BGREWRITEAOF", "BGSAVE", "SAVE", "SET first other"] {
            let words: Vec<&str> = command.split(' ').collect();
            let told = error(client.call(&words));
            assert!(told.contains("unmounted"), "{command}: {told}");
        }
        assert_eq!(contents(&data), []);
        // The operator says that it is the right one.
        client.ok("CONFIG SET appendonly no");
        client.ok("CONFIG SET appendonly yes");
        while info(&mut client, "aof_rewrite_in_progress") == "1" {}
        client.ok("SET second value");
        let keys = client.ok("DBSIZE").integer();
        server.kill();
        server.restart();
        let mut client = server.client();
        assert_eq!(client.ok("DBSIZE").integer(), keys);
        assert_eq!(client.ok("GET second").text(), "value");
    }
}

/// A small file system of its own for a directory, unmounted when dropped. `None` where that is not permitted.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn on(dir: &Path, bytes: u64) -> Option<SmallDisk> {
        let text = |text: &[u8]| CString::new(text).expect("no zero bytes");
        let (target, kind) = (text(dir.as_os_str().as_bytes()), text(b"tmpfs"));
        let options = text(format!("size={bytes}").as_bytes());
        // SAFETY: all strings end in zero and live on; the system keeps none of them.
        let mounted = unsafe {
            libc::mount(
                kind.as_ptr(),
                target.as_ptr(),
                kind.as_ptr(),
                0,
                options.as_ptr().cast(),
            )
        };
        match mounted {
            0 => Some(SmallDisk(dir.to_owned())),
            _ => {
                let error = std::io::Error::last_os_error();
                println!("skipped: a tmpfs cannot be mounted here ({error})");
                None
            }
        }
    }

    fn free(&self) -> u64 {
        let target = CString::new(self.0.as_os_str().as_bytes()).expect("no zero bytes");
        // SAFETY: `statvfs` is plain integers, for which zero is a value; the system writes to it during the call only.
        unsafe {
            let mut found: libc::statvfs = std::mem::zeroed();
            assert_eq!(libc::statvfs(target.as_ptr(), &mut found), 0);
            found.f_bavail * found.f_frsize
        }
    }

    fn resize(&self, bytes: u64) {
        let text = |text: &[u8]| CString::new(text).expect("no zero bytes");
        let (target, kind) = (text(self.0.as_os_str().as_bytes()), text(b"tmpfs"));
        let options = text(format!("size={bytes}").as_bytes());
        // SAFETY: as above.
        let remounted = unsafe {
            libc::mount(
                kind.as_ptr(),
                target.as_ptr(),
                kind.as_ptr(),
                libc::MS_REMOUNT,
                options.as_ptr().cast(),
            )
        };
        assert_eq!(remounted, 0, "{}", std::io::Error::last_os_error());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let target = CString::new(self.0.as_os_str().as_bytes()).expect("no zero bytes");
        // SAFETY: the string ends in zero and lives on. A server that still runs keeps its files.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
}

#[test]
fn fault_15_full_disk_refuses_writes_and_resumes_without_a_hand() {
    const MIB: u64 = 1 << 20;
    for policy in ["always", "everysec"] {
        let directives = [
            ("appendfsync", policy),
            ("log-segment-bytes", "1mb"),
            ("log-retention-bytes", "0"),
            ("disk-reserve-bytes", "0"),
            ("auto-aof-rewrite-percentage", "0"),
        ];
        let mut server = Server::start(Kind::Hardtack, &directives);
        server.stop_cleanly();
        let Some(disk) = SmallDisk::on(&server.data_dir(), 24 * MIB) else {
            return;
        };
        server.restart();
        let value = "v".repeat(20_000);
        let mut acked = 0;
        let (mut client, refusal) = write_until_refused(&server, &value, &mut acked);
        assert!(
            refusal.starts_with("MISCONF ") && refusal.contains("space"),
            "{refusal}"
        );
        assert!(acked > 100, "{acked}");
        for n in 0..acked {
            assert_eq!(client.ok(&format!("STRLEN key{n}")).integer(), 20_000);
        }
        client.ok("INFO");
        assert!(error(client.call(&["INCR", "counter"])).starts_with("MISCONF "));
        disk.resize(256 * MIB);
        // By itself, some time.
        while client.call(&["SET", "resumed", "1"]).is_error() {}
        server.kill();
        server.restart();
        let mut client = server.client();
        for n in 0..acked {
            assert_eq!(
                client.ok(&format!("STRLEN key{n}")).integer(),
                20_000,
                "key{n} of {acked}"
            );
        }
        assert_eq!(client.ok("GET resumed").text(), "1");
        server.stop_cleanly();
    }
}

#[test]
fn fault_16_snapshots_stop_before_writes_must() {
    const MIB: u64 = 1 << 20;
    let directives = [
        ("appendfsync", "everysec"),
        ("log-segment-bytes", "1mb"),
        ("disk-reserve-bytes", "16mb"),
        ("rdbcompression", "no"),
    ];
    let mut server = Server::start(Kind::Hardtack, &directives);
    server.stop_cleanly();
    let Some(disk) = SmallDisk::on(&server.data_dir(), 40 * MIB) else {
        return;
    };
    server.restart();
    let mut client = server.client();
    // The log takes 14 MiB and has 26 left, of which 16 are its own: the snapshot would take 14.
    for n in 0..140 {
        client.call(&["SET".to_owned(), format!("key{n}"), "v".repeat(100_000)]);
    }
    let told = error(client.call(&["SAVE"]));
    assert!(
        told.contains("disk-reserve-bytes leaves 16777216 of them to the log"),
        "{told}"
    );
    client.ok("BGREWRITEAOF");
    while info(&mut client, "aof_rewrite_in_progress") == "1" {}
    assert_eq!(info(&mut client, "aof_last_bgrewrite_status"), "err");
    assert!(info(&mut client, "snapshot_last_error").contains("disk-reserve-bytes"));
    assert!(
        server.log().contains("Background AOF rewrite failed: "),
        "{}",
        server.log_tail()
    );
    let names: Vec<_> = contents(&server.data_dir())
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert!(
        !names
            .iter()
            .any(|path| path.to_string_lossy().contains(".rdb")
                && path.to_string_lossy().contains("temp-")),
        "{names:?}"
    );
    // Below the reserve it is not begun, and its caller is told.
    while disk.free() >= 16 * MIB {
        client.call(&["SET".to_owned(), "more".to_owned(), "v".repeat(100_000)]);
    }
    while info(&mut client, "disk_reserve_reached") == "0" {}
    for command in ["BGSAVE", "BGREWRITEAOF"] {
        let told = error(client.call(&[command]));
        assert!(told.contains("disk-reserve-bytes"), "{told}");
    }
    let free: u64 = info(&mut client, "disk_free_bytes")
        .parse()
        .expect("a number");
    assert!(free < 16 * MIB);
    client.ok("SET goes on");
    disk.resize(256 * MIB);
    client.ok("SAVE");
    while info(&mut client, "aof_last_bgrewrite_status") == "err" {
        // Someone asks, or it is due by itself, or one is under way.
        client.call(&["BGREWRITEAOF"]);
    }
    assert_eq!(info(&mut client, "aof_rewrite_retry_in_sec"), "-1");
    server.stop_cleanly();
}

/// What the README tells people to do for a backup of a running server.
#[test]
fn fault_65_backup_of_a_running_server_can_be_restored() {
    let server = Server::start(
        Kind::Hardtack,
        &[("appendfsync", "everysec"), ("log-segment-bytes", "64kb")],
    );
    let mut client = server.client();
    for n in 0..2000 {
        client.ok(&format!("SET key{n} before"));
    }
    let stop = &AtomicBool::new(false);
    let backup = tempfile::tempdir().expect("a directory");
    let count = thread::scope(|scope| {
        let mut writer = server.client();
        let writes = scope.spawn(move || {
            let mut count = 0u64;
            while !stop.load(Ordering::Relaxed) {
                writer.ok(&format!("RPUSH list {count}"));
                count += 1;
            }
            count
        });
        client.ok("BGSAVE");
        while info(&mut client, "rdb_bgsave_in_progress") == "1" {}
        assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
        // Open while the next one takes its place.
        let mut source = fs::File::open(server.data_dir().join("dump.rdb")).expect("the RDB file");
        client.ok("BGSAVE");
        let mut copy = fs::File::create(backup.path().join("dump.rdb")).expect("the copy");
        std::io::copy(&mut source, &mut copy).expect("copy");
        while info(&mut client, "rdb_bgsave_in_progress") == "1" {}
        stop.store(true, Ordering::Relaxed);
        writes.join().expect("the writer")
    });
    let mut restored = Server::start(Kind::Hardtack, &[]);
    restored.stop_cleanly();
    fs::remove_dir_all(restored.data_dir()).expect("remove");
    fs::create_dir(restored.data_dir()).expect("the directory");
    fs::copy(
        backup.path().join("dump.rdb"),
        restored.data_dir().join("dump.rdb"),
    )
    .expect("copy");
    restored.restart();
    let mut client = restored.client();
    for n in 0..2000 {
        assert_eq!(client.ok(&format!("GET key{n}")).text(), "before");
    }
    let list = client.ok("LRANGE list 0 -1").elements();
    assert!(list.len() as u64 <= count);
    for (n, element) in list.iter().enumerate() {
        assert_eq!(element.text(), n.to_string(), "as of one instant");
    }
    // It has a log of its own from now on.
    assert_eq!(log_files(&restored, ".manifest").len(), 1);
}
