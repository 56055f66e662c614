//! A server under test: started on a spare port in a temporary directory, waited for, stopped, killed, restarted.
//!
//! The directory is removed when the test passes and kept, with its path printed, when it fails. A server never
//! outlives its test: `Drop` kills it, and the kernel kills it if the thread that started it dies first.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::resp::{Client, Reply};

/// How long a server may take until it answers PING, or until it has ended after a signal.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The binary under test.
    Hardtack,
    /// A stock redis-server found on PATH.
    Redis,
}

impl Kind {
    /// Whether the binary in Hardtack's place is Hardtack, so that its own directives may be used.
    pub fn has_hardtack_directives(self) -> bool {
        self == Kind::Hardtack && std::env::var_os("HARDTACK_TEST_SERVER").is_none()
    }

    fn program(self) -> OsString {
        match self {
            Kind::Hardtack => std::env::var_os("HARDTACK_TEST_SERVER")
                .unwrap_or_else(|| env!("CARGO_BIN_EXE_hardtack").into()),
            Kind::Redis => "redis-server".into(),
        }
    }

    /// The version line of the program, for reports.
    pub fn version(self) -> String {
        let output = Command::new(self.program()).arg("--version").output();
        output.map_or_else(
            |e| format!("no version: {e}"),
            |o| String::from_utf8_lossy(&o.stdout).trim().to_string(),
        )
    }
}

/// A running server and its directory.
pub struct Server {
    kind: Kind,
    child: Option<Child>,
    port: u16,
    directives: Vec<(String, String)>,
    /// What else stands on the command line.
    arguments: Vec<String>,
    /// What the system allows it: a resource of `setrlimit`, and how much of it.
    limits: Vec<(u32, u64)>,
    root: PathBuf,
    owns_root: bool,
}

impl Server {
    /// Starts a server in a new temporary directory and returns when it answers PING.
    ///
    /// # Panics
    /// If it does not come up; the message holds the end of its log.
    pub fn start(kind: Kind, directives: &[(&str, &str)]) -> Server {
        let root = tempfile::Builder::new()
            .prefix("hardtack-test-")
            .tempdir()
            .expect("a temporary directory")
            .keep();
        fs::create_dir(root.join("data")).expect("the data directory");
        Server::launch(kind, root, true, directives)
    }

    /// Starts a server on the data directory of `other`, which must have stopped and keeps owning the directory.
    pub fn start_on(kind: Kind, other: &Server, directives: &[(&str, &str)]) -> Server {
        assert!(other.child.is_none(), "the directory's server still runs");
        Server::launch(kind, other.root.clone(), false, directives)
    }

    /// A server that has not started, on the data directory of `other`, which may run; its log lines go elsewhere.
    pub fn beside(other: &Server, directives: &[(&str, &str)]) -> Server {
        let root = tempfile::Builder::new().prefix("hardtack-test-").tempdir();
        let root = root.expect("a temporary directory").keep();
        std::os::unix::fs::symlink(other.data_dir(), root.join("data")).expect("a link");
        let directives = directives
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()));
        Server {
            kind: other.kind,
            child: None,
            port: 0,
            directives: directives.collect(),
            arguments: Vec::new(),
            limits: Vec::new(),
            root,
            owns_root: true,
        }
    }

    fn launch(kind: Kind, root: PathBuf, owns_root: bool, directives: &[(&str, &str)]) -> Server {
        let directives = directives
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        let mut server = Server {
            kind,
            child: None,
            port: 0,
            directives,
            arguments: Vec::new(),
            limits: Vec::new(),
            root,
            owns_root,
        };
        server.run();
        server
    }

    /// What stands on the command line of the next start beside the directives.
    pub fn set_arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(ToString::to_string).collect();
    }

    /// What the system allows the next start: resources of `setrlimit`.
    pub fn set_limits(&mut self, limits: &[(u32, u64)]) {
        self.limits = limits.to_vec();
    }

    /// Starts the server, which has stopped and must not come up; calls `probe` with its port until it has ended.
    /// Returns how it ended.
    pub fn start_in_vain(&mut self, mut probe: impl FnMut(u16)) -> ExitStatus {
        assert!(self.child.is_none(), "the server still runs");
        self.port = spare_port();
        self.spawn();
        let end = Instant::now() + PATIENCE;
        loop {
            let child = self.child.as_mut().expect("just started");
            if let Some(status) = child.try_wait().expect("wait") {
                self.child = None;
                return status;
            }
            assert!(Instant::now() < end, "it runs\n{}", self.log_tail());
            probe(self.port);
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        let child = self.child.as_ref().expect("the server runs");
        let pid = i32::try_from(child.id()).expect("a pid");
        // SAFETY: the child has not been waited for, so the pid is still its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Waits until the server has ended by itself.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the server runs");
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = child.try_wait().expect("wait") {
                return status;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
        panic!("it did not end\n{}", self.log_tail());
    }

    /// Starts the server again on the same directory, with the same directives.
    pub fn restart(&mut self) {
        self.stop();
        self.run();
    }

    fn run(&mut self) {
        // Another process may take the spare port before the server does: then it ends at once, and we try the next.
        for attempt in 0.. {
            self.port = spare_port();
            self.spawn();
            match self.wait_until_ready() {
                Ok(()) => return,
                Err(_) if attempt < 2 && self.log_tail().contains("in use") => continue,
                Err(reason) => {
                    panic!(
                        "{:?} did not start: {reason}\n--- end of its log\n{}",
                        self.kind,
                        self.log_tail()
                    )
                }
            }
        }
    }

    /// Starts the server again on the same directory, and returns as soon as it answers: it may be loading.
    ///
    /// # Panics
    /// If it does not come that far.
    pub fn begin_restart(&mut self) {
        self.stop();
        self.port = spare_port();
        self.spawn();
        let end = Instant::now() + PATIENCE;
        let answers = |port| Client::connect(port)?.try_call(&["PING"]);
        while answers(self.port).is_err() {
            assert!(
                Instant::now() < end,
                "no answer\n--- end of the log\n{}",
                self.log_tail()
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn spawn(&mut self) {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the server's log file");
        let mut command = Command::new(self.kind.program());
        command.args([
            "--port",
            &self.port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
        ]);
        command.arg(self.data_dir());
        for (name, value) in &self.directives {
            command.arg(format!("--{name}")).arg(value);
        }
        command.args(&self.arguments);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        command.current_dir(&self.root);
        let limits = self.limits.clone();
        // SAFETY: prctl and setrlimit are async-signal-safe and touch nothing of the parent.
        unsafe {
            command.pre_exec(move || {
                let mut ok = libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0;
                for &(resource, allowed) in &limits {
                    let limit = libc::rlimit {
                        rlim_cur: allowed,
                        rlim_max: allowed,
                    };
                    ok &= libc::setrlimit(resource, &limit) == 0;
                }
                match ok {
                    true => Ok(()),
                    false => Err(io::Error::last_os_error()),
                }
            });
        }
        let program = self.kind.program();
        self.child = Some(
            command
                .spawn()
                .unwrap_or_else(|e| panic!("cannot start {}: {e}", program.display())),
        );
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self
                .child
                .as_mut()
                .expect("just started")
                .try_wait()
                .expect("wait")
            {
                self.child = None;
                return Err(format!("it ended with {status}"));
            }
            if let Ok(mut client) = Client::connect(self.port)
                && client
                    .try_call(&["PING"])
                    .is_ok_and(|r| r == Reply::Simple("PONG".into()))
            {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.kill();
        Err(format!("no PONG within {PATIENCE:?}"))
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        Client::connect(self.port).expect("connect to the server under test")
    }

    /// Which server this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The port of the last start.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The log of all starts.
    pub fn log(&self) -> String {
        let text = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    fn log_path(&self) -> PathBuf {
        self.root.join("server.log")
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends SIGTERM and waits for the end; the server must end by itself.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        self.child.as_ref()?;
        self.signal(libc::SIGTERM);
        let mut child = self.child.take()?;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = child.try_wait().expect("wait") {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
        panic!(
            "{:?} did not end within {PATIENCE:?} of SIGTERM\n--- end of its log\n{}",
            self.kind,
            self.log_tail()
        );
    }

    /// As [`stop`](Server::stop), and the exit status must be 0.
    pub fn stop_cleanly(&mut self) {
        if let Some(status) = self.stop() {
            assert!(
                status.success(),
                "{status} after SIGTERM\n--- end of its log\n{}",
                self.log_tail()
            );
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if !self.owns_root {
            return;
        }
        if thread::panicking() {
            eprintln!("kept for a look: {}", self.root.display());
        } else {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

/// Runs one of Redis's command-line tools and returns whether it succeeded, with what it printed.
pub fn redis_tool(name: &str, path: &Path) -> (bool, String) {
    let output = Command::new(name).arg(path).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("cannot run {name}: {e}"));
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

fn spare_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a spare port");
    listener.local_addr().expect("its address").port()
}
