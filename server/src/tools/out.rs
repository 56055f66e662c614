//! Standard output and standard error of the tools.

use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;

use super::Failure;

/// Standard output: buffered, and aware of readers that go away. What is not flushed at the end is lost.
pub struct Out {
    stdout: BufWriter<Stdout>,
}

impl Out {
    /// Standard output.
    pub fn new() -> Out {
        Out {
            stdout: BufWriter::with_capacity(64 * 1024, io::stdout()),
        }
    }

    /// Writes a line.
    pub fn line(&mut self, text: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.stdout, "{text}").map_err(|error| failure(&error))
    }

    /// Writes a JSON document on a line of its own.
    pub fn json(&mut self, document: &impl Serialize) -> Result<(), Failure> {
        match serde_json::to_writer(&mut self.stdout, document) {
            Ok(()) => self
                .stdout
                .write_all(b"\n")
                .map_err(|error| failure(&error)),
            Err(error) => Err(failure(&error.into())),
        }
    }

    /// Hands everything to the reader.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(|error| failure(&error))
    }
}

fn failure(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::ReaderGone
    } else {
        Failure::new(format!("can't write to standard output: {error}"))
    }
}

/// Writes a line to standard error, if there is anybody to read it.
pub fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
