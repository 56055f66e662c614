//! A server to measure: a child process in a temporary directory, and what /proc says about it.
//!
//! Both servers get the same directives. A server never outlives the run: `Drop` kills it, and the kernel kills it when
//! the thread that started it dies. It has a process group of its own, so that ctrl-c reaches the benchmark only.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::check_interrupt;
use crate::client::Connection;

/// How often a starting or stopping server is asked.
const POLL: Duration = Duration::from_millis(2);
/// A server that takes longer than this to load or to stop is given up.
const PATIENCE: Duration = Duration::from_secs(600);

/// A server program.
#[derive(Clone, Debug)]
pub struct Program {
    /// Column title.
    pub name: &'static str,
    /// The executable.
    pub path: PathBuf,
}

impl Program {
    /// The first line that `--version` prints.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub fn version(&self) -> io::Result<String> {
        let output = Command::new(&self.path)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|e| {
                io::Error::new(
                    e.kind(),
                    format!("cannot run {} ({}): {e}", self.name, self.path.display()),
                )
            })?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .unwrap_or("no version")
            .to_string())
    }
}

/// A running server.
pub struct Peer {
    program: Program,
    directives: Vec<(String, String)>,
    directory: TempDir,
    child: Option<Child>,
    port: u16,
}

impl Peer {
    /// Starts a server on an empty directory with the common directives and those given; waits until it answers.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(program: &Program, directives: &[(&str, &str)]) -> io::Result<Peer> {
        let directives = directives
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        let directory = tempfile::Builder::new()
            .prefix("hardtack-compare-")
            .tempdir()?;
        let mut peer = Peer {
            program: program.clone(),
            directives,
            directory,
            child: None,
            port: 0,
        };
        peer.run()?;
        Ok(peer)
    }

    /// Starts the server, which must have stopped, on its directory, and returns the time until it served.
    ///
    /// # Errors
    /// If it does not start.
    pub fn run(&mut self) -> io::Result<Duration> {
        let data = self.directory.path().join("data");
        fs::create_dir_all(&data)?;
        self.port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.program.path);
        command.args([
            "--port",
            &self.port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ]);
        command.args(["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"]);
        command.arg("--dir").arg(&data);
        for (name, value) in &self.directives {
            command.arg(format!("--{name}")).arg(value);
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        // SAFETY: prctl is async-signal-safe and touches nothing of the parent.
        unsafe {
            command.pre_exec(
                || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                },
            );
        }
        let started = Instant::now();
        self.child = Some(command.spawn()?);
        while started.elapsed() < PATIENCE {
            check_interrupt()?;
            if let Some(status) = self
                .child
                .as_mut()
                .and_then(|c| c.try_wait().transpose())
                .transpose()?
            {
                self.child = None;
                return Err(self.failure(&format!("ended with {status}")));
            }
            // Refused, closed and -LOADING all mean: not yet.
            if self.connect().and_then(|mut c| c.call(&["PING"])).is_ok() {
                return Ok(started.elapsed());
            }
            thread::sleep(POLL);
        }
        Err(self.failure("does not answer"))
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// If it does not end.
    pub fn stop(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        // SAFETY: the child has not been waited for, so the pid is still its own.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            if child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(self.failure("does not end"))
    }

    /// Column title.
    pub fn name(&self) -> &'static str {
        self.program.name
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new connection.
    ///
    /// # Errors
    /// If the server does not take it.
    pub fn connect(&self) -> io::Result<Connection> {
        Connection::open(self.port)
    }

    /// The value of an INFO field.
    ///
    /// # Errors
    /// If the server does not answer, or has no such field.
    pub fn info(
        &self,
        connection: &mut Connection,
        section: &str,
        field: &str,
    ) -> io::Result<String> {
        let info = connection.call(&["INFO", section])?;
        let info = String::from_utf8_lossy(&info);
        let value = info
            .lines()
            .find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
        value
            .map(|v| v.trim().to_string())
            .ok_or_else(|| self.failure(&format!("has no {field} in INFO {section}")))
    }

    /// Processor time of the server so far, user and system.
    ///
    /// # Errors
    /// If the server has ended.
    pub fn cpu(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // The name, in parentheses, may hold anything; after it field 3 follows, and fields 14 and 15 are the times.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |i: usize| {
            fields
                .get(i)
                .and_then(|f| f.parse::<u64>().ok())
                .ok_or_else(|| io::Error::other("stat"))
        };
        // SAFETY: sysconf reads a constant.
        let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) })
            .unwrap_or(100)
            .max(1);
        Ok(Duration::from_millis(
            (ticks(11)? + ticks(12)?) * 1000 / per_second,
        ))
    }

    /// Resident memory of the server, in bytes.
    ///
    /// # Errors
    /// If the server has ended.
    pub fn resident(&self) -> io::Result<u64> {
        sum_kib(
            Path::new(&format!("/proc/{}/status", self.pid())),
            &["VmRSS:"],
        )
    }

    /// Memory of forked children that they share with nobody: what a fork costs above the server's own memory. In bytes.
    pub fn children_private(&self) -> u64 {
        let pid = self.pid();
        let children =
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let private = |child: &str| {
            let path = format!("/proc/{child}/smaps_rollup");
            // A child that ends meanwhile costs nothing any more.
            sum_kib(Path::new(&path), &["Private_Clean:", "Private_Dirty:"]).unwrap_or(0)
        };
        children.split_whitespace().map(private).sum()
    }

    /// Bytes in the files of the data directory.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn disk_bytes(&self) -> io::Result<u64> {
        fn walk(directory: &Path) -> io::Result<u64> {
            let mut sum = 0;
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                sum += if metadata.is_dir() {
                    walk(&entry.path())?
                } else {
                    metadata.len()
                };
            }
            Ok(sum)
        }
        walk(&self.directory.path().join("data"))
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn failure(&self, what: &str) -> io::Error {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(10)..].join("\n  ");
        io::Error::other(format!(
            "{} {what}; the end of its log:\n  {tail}",
            self.program.name
        ))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn sum_kib(path: &Path, fields: &[&str]) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    let value = |line: &str| -> Option<u64> {
        fields
            .iter()
            .find_map(|f| line.strip_prefix(f))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    Ok(text.lines().filter_map(value).sum::<u64>() * 1024)
}
