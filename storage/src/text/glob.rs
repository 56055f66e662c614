//! Glob patterns of KEYS, SCAN MATCH, PSUBSCRIBE, CONFIG GET and ACLs.
//!
//! | pattern | matches |
//! |---|---|
//! | `*` | any run of bytes, also none |
//! | `?` | any one byte |
//! | `[abc]` `[a-z]` `[^a]` | one byte in, or not in, the class; a range may be written backwards; `\` escapes inside |
//! | `\x` | the byte `x` |
//!
//! Odd corners as in Redis 7.0: a class without `]` ends with the pattern; `[]` matches nothing and `[^]` any byte;
//! in `[a-]` the range runs to `]` itself; a lone `\` at the end is a literal; the empty string is matched by the
//! empty pattern only, not by `*`.
//!
//! A pattern with more than 1000 runs of `*` before its end matches nothing that would need them all.
//!
//! Work is at most `pattern × text` steps: only the last `*` seen is ever retried, which is enough because an
//! earlier one that takes more can only leave less to match.

/// Runs of `*` that are followed; Redis goes no deeper.
const STARS_MAX: usize = 1000;

/// Whether `text` as a whole matches `pattern`; with `ignore_case`, ASCII letters match either case.
pub fn matches(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // After the last `*`: where the pattern goes on, and the first text position not yet tried there.
    let mut retry: Option<(usize, usize)> = None;
    let mut stars = 0;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            if p == pattern.len() {
                return true;
            }
            if pattern[p] != b'*' {
                stars += 1;
                if stars > STARS_MAX {
                    return false;
                }
            }
            retry = Some((p, t));
            continue;
        }
        match match_one(&pattern[p..], text[t], ignore_case) {
            Some(consumed) => {
                p += consumed;
                t += 1;
            }
            None => match &mut retry {
                Some((after_star, from)) => {
                    *from += 1;
                    (p, t) = (*after_star, *from);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Whether `pattern` has no special byte, so that it matches itself and nothing else.
pub fn is_literal(pattern: &[u8]) -> bool {
    !pattern
        .iter()
        .any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
}

/// Matches one byte against the first element of `pattern`, which is no `*`; returns the element's length.
fn match_one(pattern: &[u8], byte: u8, ignore_case: bool) -> Option<usize> {
    let same = |a: u8| a == byte || (ignore_case && a.eq_ignore_ascii_case(&byte));
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => match_class(class, byte, ignore_case).map(|len| len + 1),
        [b'\\', escaped, ..] => same(*escaped).then_some(2),
        [literal, ..] => same(*literal).then_some(1),
    }
}

/// Matches one byte against a class whose `[` is already gone; returns the length of the rest, with its `]`.
fn match_class(class: &[u8], byte: u8, ignore_case: bool) -> Option<usize> {
    let fold = |b: u8| {
        if ignore_case {
            b.to_ascii_lowercase()
        } else {
            b
        }
    };
    let byte = fold(byte);
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &class[at..] {
            [] => break,
            [b'\\', escaped, ..] => {
                found |= fold(*escaped) == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [from, b'-', to, ..] => {
                let (from, to) = (fold(*from), fold(*to));
                found |= (from.min(to)..=from.max(to)).contains(&byte);
                at += 3;
            }
            [single, ..] => {
                found |= fold(*single) == byte;
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(pattern: &str, text: &str) -> bool {
        matches(pattern.as_bytes(), text.as_bytes(), false)
    }

    #[test]
    fn documented_patterns() {
        for (pattern, text, expected) in [
            ("*", "anything", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h*llo", "hllo", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("*a*b", "xxaxxb", true),
            ("*ab", "aab", true),
            ("a**", "a", true),
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("**", "", false),
            ("[abc", "b", true),
            ("[", "[", false),
            ("[]", "]", false),
            ("[^]", "x", true),
            ("[a-", "-", true),
            ("[a-]", "_", true),
            ("[\\]]", "]", true),
            ("\\", "\\", true),
            ("a\\", "a\\", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn case_is_ignored_on_request_only() {
        assert!(!glob("HeLLo", "hello"));
        assert!(matches(b"HeL\\Lo*", b"hello world", true));
        assert!(matches(b"[A-C]x", b"bX", true));
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!glob(&pattern, &"a".repeat(20_000)));
        assert!(glob(&pattern, &("a".repeat(20_000) + "b")));
        assert!(glob(&"*a".repeat(1000), &"a".repeat(5000)));
        assert!(!glob(&"*a".repeat(1001), &"a".repeat(5000)));
    }
}
