//! Glob patterns over names: `*`, `?`, `[abc]`, `[^a-z]` and `\x`, without regard to ASCII case.
//!
//! Used for CONFIG GET; the patterns come from clients, so the work is bounded: a `*` that failed is retried only
//! from the latest one, which keeps matching at pattern length × name length.

/// True if `pattern` matches the whole of `name`.
pub fn matches_ignoring_case(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            retry = Some((p + 1, n));
            p += 1;
            continue;
        }
        if n == name.len() && p == pattern.len() {
            return true;
        }
        if n < name.len()
            && let Some(width) = match_one(&pattern[p..], name[n])
        {
            p += width;
            n += 1;
            continue;
        }
        match retry {
            Some((after_star, from)) if from < name.len() => {
                retry = Some((after_star, from + 1));
                p = after_star;
                n = from + 1;
            }
            _ => return false,
        }
    }
}

/// If the first element of `pattern` matches `byte`, the width of that element.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    let byte = byte.to_ascii_lowercase();
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', rest @ ..] => match_class(rest, byte).map(|width| width + 1),
        [b'\\', escaped, ..] => (escaped.to_ascii_lowercase() == byte).then_some(2),
        [plain, ..] => (plain.to_ascii_lowercase() == byte).then_some(1),
    }
}

/// Matches a class whose `[` has been read; gives the width up to and including its `]`.
fn match_class(class: &[u8], byte: u8) -> Option<usize> {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &class[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                found |= escaped.to_ascii_lowercase() == byte;
                at += 2;
            }
            [low, b'-', high, ..] => {
                let (low, high) = (low.to_ascii_lowercase(), high.to_ascii_lowercase());
                found |= (low.min(high)..=low.max(high)).contains(&byte);
                at += 3;
            }
            [plain, ..] => {
                found |= plain.to_ascii_lowercase() == byte;
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let matching = [
            ("*", ""),
            ("*", "abc"),
            ("max*", "MaxMemory"),
            ("*of", "slaveof"),
            ("a?c", "abc"),
            ("[a-c]x", "bx"),
            ("[^a]x", "bx"),
            ("\\*", "*"),
            ("*a*b*c*", "xxaxxbxxc"),
            ("", ""),
            ("s[al]*", "slaveof"),
        ];
        for (pattern, name) in matching {
            assert!(
                matches_ignoring_case(pattern.as_bytes(), name.as_bytes()),
                "{pattern} {name}"
            );
        }
        let failing = [
            ("", "a"),
            ("a", ""),
            ("a?c", "ac"),
            ("[^b]x", "bx"),
            ("*of", "offer"),
            ("[a", "b"),
        ];
        for (pattern, name) in failing {
            assert!(
                !matches_ignoring_case(pattern.as_bytes(), name.as_bytes()),
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn many_stars_finish_quickly() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!matches_ignoring_case(
            pattern.as_bytes(),
            "a".repeat(2000).as_bytes()
        ));
    }
}
