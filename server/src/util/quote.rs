//! Redis's quoting rules, shared by inline commands, configuration files and the command line.
//!
//! Arguments are separated by blanks. Within `"..."`, `\n \r \t \b \a` and `\xHH` are escapes and any other
//! `\c` means `c`; within `'...'` only `\'` is an escape. A closing quote must be followed by a blank or by the
//! end of the line. Quotes may begin in the middle of an argument: `a"b c"` is the one argument `ab c`.
//!
//! A decoded argument is never longer than its source, so splitting works in place and allocates nothing.

/// A quote was not closed, or a closing quote was followed by something other than a blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnbalancedQuotes;

/// Splits `line` into arguments, decoding them within `line` itself; `emit(start, end)` is called for each.
///
/// # Errors
/// [`UnbalancedQuotes`]; `line` is then partly decoded and of no further use.
pub fn split_in_place(
    line: &mut [u8],
    mut emit: impl FnMut(usize, usize),
) -> Result<(), UnbalancedQuotes> {
    let mut read = 0;
    loop {
        while line.get(read).copied().is_some_and(is_space) {
            read += 1;
        }
        if read >= line.len() {
            return Ok(());
        }
        let start = read;
        let mut write = read;
        let mut quote = Quote::None;
        loop {
            let byte = line.get(read).copied();
            let (decoded, width) = match (quote, byte) {
                (Quote::None, None) => break,
                (_, None) => return Err(UnbalancedQuotes),
                (Quote::None, Some(b' ' | b'\n' | b'\r' | b'\t' | 0)) => {
                    read += 1;
                    break;
                }
                (Quote::None, Some(b'"')) => {
                    quote = Quote::Double;
                    read += 1;
                    continue;
                }
                (Quote::None, Some(b'\'')) => {
                    quote = Quote::Single;
                    read += 1;
                    continue;
                }
                (Quote::Double, Some(b'"')) | (Quote::Single, Some(b'\'')) => {
                    read += 1;
                    match line.get(read) {
                        Some(&next) if !is_space(next) => return Err(UnbalancedQuotes),
                        _ => break,
                    }
                }
                (Quote::Double, Some(b'\\')) => escape(&line[read..]),
                (Quote::Single, Some(b'\\')) if line.get(read + 1) == Some(&b'\'') => (b'\'', 2),
                (_, Some(plain)) => (plain, 1),
            };
            line[write] = decoded;
            write += 1;
            read += width;
        }
        emit(start, write);
    }
}

/// Splits a line into owned arguments; `None` if its quotes do not balance.
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut decoded = line.to_vec();
    let mut ranges = Vec::new();
    split_in_place(&mut decoded, |start, end| ranges.push((start, end))).ok()?;
    Some(
        ranges
            .into_iter()
            .map(|(start, end)| decoded[start..end].to_vec())
            .collect(),
    )
}

/// Appends `text` in double quotes, so that [`split`] gives it back.
pub fn push_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'\\' | b'"' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x07 => out.extend(b"\\a"),
            0x08 => out.extend(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend([
                    b'\\',
                    b'x',
                    HEX[usize::from(byte >> 4)],
                    HEX[usize::from(byte & 15)],
                ]);
            }
        }
    }
    out.push(b'"');
}

#[derive(Clone, Copy)]
enum Quote {
    None,
    Single,
    Double,
}

/// The byte that an escape in double quotes stands for, and the escape's width. `text` begins with a backslash.
fn escape(text: &[u8]) -> (u8, usize) {
    match text {
        [_, b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            ((hex_value(*high) << 4) | hex_value(*low), 4)
        }
        [_, b'n', ..] => (b'\n', 2),
        [_, b'r', ..] => (b'\r', 2),
        [_, b't', ..] => (b'\t', 2),
        [_, b'b', ..] => (0x08, 2),
        [_, b'a', ..] => (0x07, 2),
        [_, other, ..] => (*other, 2),
        _ => (b'\\', 1),
    }
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

/// C's `isspace` in the "C" locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_text(line: &str) -> Option<Vec<String>> {
        split(line.as_bytes()).map(|args| {
            args.into_iter()
                .map(|arg| String::from_utf8(arg).unwrap())
                .collect()
        })
    }

    #[test]
    fn quoting_rules() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("  \t ", &[]),
            ("set key  value", &["set", "key", "value"]),
            (r#"a"b c" d"#, &["ab c", "d"]),
            (r#""\x41\x4a\n\t\"\q" x"#, &["AJ\n\t\"q", "x"]),
            (r#""\x4" "#, &["x4"]),
            (r"'it\'s \n' ''", &[r"it's \n", ""]),
            (r#""" "" """#, &["", "", ""]),
            (r"a\tb", &[r"a\tb"]),
        ];
        for (line, want) in cases {
            assert_eq!(
                split_text(line).as_deref(),
                Some(&want.iter().map(|s| s.to_string()).collect::<Vec<_>>()[..]),
                "{line}"
            );
        }
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in [
            r#""abc"#,
            r#""a"b"#,
            "'abc",
            "'a'b",
            r#"set """test-key""" v"#,
            r#""abc\"#,
            r#""abc\""#,
        ] {
            assert_eq!(split_text(line), None, "{line}");
        }
    }

    #[test]
    fn quoted_text_splits_back_to_itself() {
        let every_byte: Vec<u8> = (0..=255).collect();
        let mut line = b"name ".to_vec();
        push_quoted(&mut line, &every_byte);
        assert_eq!(split(&line), Some(vec![b"name".to_vec(), every_byte]));
    }
}
