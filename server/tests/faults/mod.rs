//! What happens to real servers, done to the binary: one test for each fault, named after its row in the list of faults
//! (ARCHITECTURE.md says where the other rows are tested).

mod damage;
mod directory;
mod limits;

use std::path::PathBuf;

use crate::support::{Client, Server};

/// The value of an INFO field.
fn info(client: &mut Client, field: &str) -> String {
    let text = client.ok("INFO everything").text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_else(|| panic!("no {field} in {text}"))
        .trim()
        .to_owned()
}

/// The files of the log whose names end so, in order of their numbers.
fn log_files(server: &Server, end: &str) -> Vec<PathBuf> {
    let dir = server.data_dir().join("appendonlydir");
    let entries = std::fs::read_dir(dir).expect("the log's directory");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    let number = |path: &PathBuf| -> u64 {
        let name = path.file_name().and_then(|name| name.to_str());
        let mut parts = name.expect("a name").split('.');
        parts.nth(2).and_then(|n| n.parse().ok()).unwrap_or(0)
    };
    files.sort_by_key(number);
    files
}
