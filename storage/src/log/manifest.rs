//! The manifest: which files the log consists of.
//!
//! The text is that of Redis's multi-part append-only file, one line a file, so that either server can start on the
//! other's directory:
//!
//! ```text
//! # hardtack crc=1b2c3d4e                                   over the lines below; only in manifests we wrote
//! file appendonly.aof.2.base.rdb seq 2 type b               the base: one snapshot
//! file appendonly.aof.3.incr.aof seq 3 type h               history: replaced by the base, may be deleted
//! file appendonly.aof.4.incr.aof seq 4 type i               increments (segments), in the order of their numbers
//! ```
//!
//! Redis skips lines that begin with `#`, and does not write the checksum back; unknown key-value pairs are skipped by
//! both. A file name with special characters is quoted, with the escapes of C.
//!
//! The file is replaced whole, durably, by `disk::replace_file`. A new file is durable before the manifest names it.

/// The longest manifest that is read: about a million files.
pub(super) const MANIFEST_BYTES_MAX: u64 = 64 << 20;

const CHECK_PREFIX: &str = "# hardtack crc=";

/// Redis refuses longer lines.
const LINE_BYTES_MAX: usize = 1022;

/// What a file is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Base,
    History,
    Increment,
}

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub seq: u64,
    pub kind: FileKind,
}

/// The files of the log. Increments are in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    pub base: Option<Entry>,
    pub history: Vec<Entry>,
    pub increments: Vec<Entry>,
    /// The text had our checksum: no other server wrote it.
    pub checked: bool,
}

/// Why a text is not a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}. {}", known_phrase(.reason))]
pub struct ManifestError {
    /// Counted from 1.
    pub line: usize,
    /// In words.
    pub reason: &'static str,
}

const EMPTY: &str = "the manifest is empty";
const NAMES_NOTHING: &str = "the manifest names no file";
const TOO_LONG: &str = "the line is too long";
const UNKNOWN_TYPE: &str = "unknown file type";
const SECOND_BASE: &str = "a second base file";
const NOT_RISING: &str = "the sequence number does not rise";

/// What watches Redis's log lines knows these.
fn known_phrase(reason: &str) -> &'static str {
    match reason {
        EMPTY | NAMES_NOTHING => "Found an empty AOF manifest",
        TOO_LONG => "The AOF manifest file contains too long line",
        UNKNOWN_TYPE => "Unknown AOF file type",
        SECOND_BASE => "Found duplicate base file information",
        NOT_RISING => "Found a non-monotonic sequence number",
        _ => "Invalid AOF manifest file format",
    }
}

impl Manifest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut lines = String::new();
        for entry in self
            .base
            .iter()
            .chain(&self.history)
            .chain(&self.increments)
        {
            let kind = match entry.kind {
                FileKind::Base => 'b',
                FileKind::History => 'h',
                FileKind::Increment => 'i',
            };
            lines += &format!(
                "file {} seq {} type {kind}\n",
                quoted(&entry.name),
                entry.seq
            );
        }
        format!(
            "{CHECK_PREFIX}{:08x}\n{lines}",
            crc32fast::hash(lines.as_bytes())
        )
        .into_bytes()
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let whole = |reason| ManifestError { line: 1, reason };
        let text = std::str::from_utf8(bytes).map_err(|_| whole("not text"))?;
        if text.is_empty() {
            return Err(whole(EMPTY));
        }
        if let Some(rest) = text.strip_prefix(CHECK_PREFIX) {
            let (crc, lines) = rest
                .split_once('\n')
                .ok_or_else(|| whole("nothing after the checksum"))?;
            if crc != format!("{:08x}", crc32fast::hash(lines.as_bytes())) {
                return Err(whole("checksum mismatch"));
            }
        }
        let mut manifest = Manifest {
            checked: text.starts_with(CHECK_PREFIX),
            ..Manifest::default()
        };
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let error = |reason| ManifestError {
                line: number + 1,
                reason,
            };
            let line = line
                .strip_suffix('\n')
                .ok_or_else(|| error("the line is cut off"))?;
            if line.len() > LINE_BYTES_MAX {
                return Err(error(TOO_LONG));
            }
            if line.starts_with('#') {
                continue;
            }
            manifest
                .add(parse_line(line.trim()).map_err(error)?)
                .map_err(error)?;
        }
        if manifest.base.is_none() && manifest.increments.is_empty() {
            return Err(whole(NAMES_NOTHING));
        }
        Ok(manifest)
    }

    fn add(&mut self, entry: Entry) -> Result<(), &'static str> {
        match entry.kind {
            FileKind::Base if self.base.is_some() => return Err(SECOND_BASE),
            FileKind::Base => self.base = Some(entry),
            FileKind::History => self.history.push(entry),
            FileKind::Increment => {
                if self
                    .increments
                    .last()
                    .is_some_and(|last| last.seq >= entry.seq)
                {
                    return Err(NOT_RISING);
                }
                self.increments.push(entry);
            }
        }
        Ok(())
    }

    /// The highest sequence number of an increment, also of history; 0 if there is none.
    pub(super) fn last_increment_seq(&self) -> u64 {
        self.increments
            .iter()
            .chain(&self.history)
            .map(|e| e.seq)
            .max()
            .unwrap_or(0)
    }

    /// All of them.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        let base = self.base.iter();
        base.chain(&self.history).chain(&self.increments)
    }

    /// True if some entry names this file.
    pub(super) fn names(&self, name: &str) -> bool {
        self.entries().any(|entry| entry.name == name)
    }
}

fn parse_line(line: &str) -> Result<Entry, &'static str> {
    let words = split_words(line)?;
    if words.is_empty() || !words.len().is_multiple_of(2) {
        return Err("not a list of keys and values");
    }
    let (mut name, mut seq, mut kind) = (None, None, None);
    for pair in words.chunks(2) {
        let value = &pair[1];
        match pair[0].to_ascii_lowercase().as_str() {
            "file" => name = Some(value.clone()),
            "seq" => {
                seq = Some(
                    value
                        .parse::<u64>()
                        .map_err(|_| "the sequence number is not a number")?,
                )
            }
            "type" => {
                kind = Some(match value.as_str() {
                    "b" => FileKind::Base,
                    "h" => FileKind::History,
                    "i" => FileKind::Increment,
                    _ => return Err(UNKNOWN_TYPE),
                });
            }
            // Newer servers write more keys.
            _ => {}
        }
    }
    let (Some(name), Some(seq), Some(kind)) = (name, seq, kind) else {
        return Err("file, seq or type is missing");
    };
    if seq == 0 {
        return Err("the sequence number is zero");
    }
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err("the file is not a plain name");
    }
    Ok(Entry { name, seq, kind })
}

/// Words divided by blanks; a word in double quotes may hold blanks, and escapes as Redis writes them.
fn split_words(line: &str) -> Result<Vec<String>, &'static str> {
    const OPEN: &str = "a quote is not closed";
    let mut words = Vec::new();
    let mut rest = line.as_bytes();
    while let [first, behind @ ..] = rest {
        let mut word = Vec::new();
        match first {
            b' ' | b'\t' => {
                rest = behind;
                continue;
            }
            b'"' => {
                rest = behind;
                loop {
                    let (byte, width) = match rest {
                        [] | [b'\\'] => return Err(OPEN),
                        [b'"', behind @ ..] => {
                            rest = behind;
                            break;
                        }
                        [b'\\', escaped @ ..] => unescaped(escaped),
                        [plain, ..] => (*plain, 1),
                    };
                    word.push(byte);
                    rest = &rest[width..];
                }
            }
            _ => {
                let end = rest.iter().position(|byte| b" \t".contains(byte));
                let (plain, behind) = rest.split_at(end.unwrap_or(rest.len()));
                word.extend(plain);
                rest = behind;
            }
        }
        words.push(String::from_utf8(word).map_err(|_| "not text")?);
    }
    Ok(words)
}

/// The byte that an escape stands for, and the escape's width; `text` is what follows its backslash, and not empty.
fn unescaped(text: &[u8]) -> (u8, usize) {
    let hex = |digit: u8| char::from(digit).to_digit(16);
    match text {
        [b'x', high, low, ..] => match hex(*high).zip(hex(*low)) {
            Some((high, low)) => ((high * 16 + low) as u8, 4),
            None => (b'x', 2),
        },
        [b'n', ..] => (b'\n', 2),
        [b'r', ..] => (b'\r', 2),
        [b't', ..] => (b'\t', 2),
        [b'a', ..] => (0x07, 2),
        [b'b', ..] => (0x08, 2),
        [other, ..] => (*other, 2),
        [] => (b'\\', 1),
    }
}

fn quoted(name: &str) -> String {
    if name
        .chars()
        .all(|c| c.is_ascii_graphic() && c != '"' && c != '\\' && c != '\'')
    {
        return name.into();
    }
    let mut text = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text += "\\n",
            '\r' => text += "\\r",
            '\t' => text += "\\t",
            '\x07' => text += "\\a",
            '\x08' => text += "\\b",
            c if c.is_ascii_control() => text += &format!("\\x{:02x}", u32::from(c)),
            c => text.push(c),
        }
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, seq: u64, kind: FileKind) -> Entry {
        Entry {
            name: name.into(),
            seq,
            kind,
        }
    }

    fn sample() -> Manifest {
        Manifest {
            base: Some(entry("appendonly.aof.2.base.rdb", 2, FileKind::Base)),
            history: vec![entry("appendonly.aof.1.incr.aof", 1, FileKind::History)],
            increments: vec![
                entry("appendonly.aof.2.incr.aof", 2, FileKind::Increment),
                entry("my log.3.incr.aof", 3, FileKind::Increment),
            ],
            checked: true,
        }
    }

    #[test]
    fn round_trip() {
        assert_eq!(Manifest::parse(&sample().encode()), Ok(sample()));
        assert_eq!(sample().last_increment_seq(), 3);
    }

    /// A line feed would end the line that it stands in, and the next start would be refused.
    #[test]
    fn any_name_is_one_word_of_one_line() {
        let every_ascii: String = (1..=127u8).map(char::from).filter(|c| *c != '/').collect();
        for name in [
            "a\nb",
            "a\r\n \t\x07\x08",
            r#"a\n"b'c"#,
            "über",
            &every_ascii,
        ] {
            let manifest = Manifest {
                history: Vec::new(),
                increments: vec![entry(name, 7, FileKind::Increment)],
                ..sample()
            };
            let text = manifest.encode();
            assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 3);
            assert_eq!(Manifest::parse(&text), Ok(manifest), "{name:?}");
        }
        // As redis-server 7.0.15 writes it.
        let text = b"file \"a\\nb \\xc3\\xbc.1.incr.aof\" seq 1 type i\n";
        let name = "a\nb \u{fc}.1.incr.aof";
        assert_eq!(
            Manifest::parse(text).unwrap().increments,
            [entry(name, 1, FileKind::Increment)]
        );
        let open = Manifest::parse(b"file \"a\\\n").unwrap_err();
        assert_eq!((open.line, open.reason), (1, "a quote is not closed"));
    }

    #[test]
    fn redis_text_with_comments_and_unknown_keys_is_read() {
        let text = b"#comment\nfile a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type i startoffset 0\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(
            manifest.increments,
            [entry("a.1.incr.aof", 1, FileKind::Increment)]
        );
    }

    #[test]
    fn bad_texts_are_refused_with_line_and_reason() {
        for (text, line, reason) in [
            ("", 1, "the manifest is empty"),
            ("# only a comment\n", 1, "the manifest names no file"),
            ("file a seq 1 type b", 1, "the line is cut off"),
            (
                "file a seq 1 type b\nfile b seq 2 type b\n",
                2,
                "a second base file",
            ),
            (
                "file a seq 2 type i\nfile b seq 2 type i\n",
                2,
                "the sequence number does not rise",
            ),
            ("file a seq 1 type x\n", 1, "unknown file type"),
            (
                "file ../a seq 1 type i\n",
                1,
                "the file is not a plain name",
            ),
            (
                "file a seq -1 type i\n",
                1,
                "the sequence number is not a number",
            ),
            ("file a seq 1\n", 1, "file, seq or type is missing"),
            ("file \"a seq 1 type i\n", 1, "a quote is not closed"),
        ] {
            let expected = ManifestError { line, reason };
            assert_eq!(Manifest::parse(text.as_bytes()), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn any_flipped_bit_of_our_own_is_noticed_or_harmless() {
        let good = sample().encode();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                // A flip in the words before the checksum only makes it an ordinary comment.
                let harmless = Ok(Manifest {
                    checked: false,
                    ..sample()
                });
                assert!(
                    Manifest::parse(&bad).is_err() || Manifest::parse(&bad) == harmless,
                    "byte {at} bit {bit}"
                );
            }
        }
    }
}
