//! COMMAND DOCS' argument trees, read from the notation in which the command table describes arguments.
//!
//! The notation: `WORD` is itself, `word` stands for an argument, `[...]` may be left out, `a | b` is a choice, `<...>`
//! holds together, and a `[x ...]` after `x` says that `x` may be repeated. A `WORD` belongs to the arguments behind it.

/// One argument, or a group of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// What it is called.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The word before it.
    pub token: Option<String>,
    /// It may be left out.
    pub optional: bool,
    /// It may be repeated.
    pub multiple: bool,
    /// What a group consists of.
    pub parts: Vec<Arg>,
}

/// What an argument is, in Redis's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    Key,
    String,
    Integer,
    Double,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

impl Kind {
    /// The word that COMMAND DOCS has for it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Key => "key",
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Double => "double",
            Kind::Pattern => "pattern",
            Kind::UnixTime => "unix-time",
            Kind::PureToken => "pure-token",
            Kind::OneOf => "oneof",
            Kind::Block => "block",
        }
    }
}

/// Reads a description of arguments.
pub fn parse(syntax: &str) -> Vec<Arg> {
    let mut words = Vec::new();
    for word in syntax.split_whitespace() {
        split_word(word, &mut words);
    }
    let mut rest = words.as_slice();
    let args = choice(&mut rest);
    match args {
        Some(Arg {
            kind: Kind::Block,
            token: None,
            optional: false,
            multiple: false,
            parts,
            ..
        }) => parts,
        Some(arg) => vec![arg],
        None => Vec::new(),
    }
}

fn split_word<'s>(word: &'s str, words: &mut Vec<&'s str>) {
    let mut start = 0;
    for (at, character) in word.char_indices() {
        if "[]<>|".contains(character) {
            if start < at {
                words.push(&word[start..at]);
            }
            words.push(&word[at..at + 1]);
            start = at + 1;
        }
    }
    if start < word.len() {
        words.push(&word[start..]);
    }
}

/// Reads alternatives up to a closing bracket; `None` if there is nothing.
fn choice(rest: &mut &[&str]) -> Option<Arg> {
    let mut alternatives = Vec::new();
    loop {
        alternatives.extend(sequence(rest));
        match rest.split_first() {
            Some((&"|", behind)) => *rest = behind,
            _ => break,
        }
    }
    if alternatives.len() < 2 {
        return alternatives.pop();
    }
    let names: Vec<&str> = alternatives.iter().map(|arg| arg.name.as_str()).collect();
    Some(group(names.join("-or-"), Kind::OneOf, alternatives))
}

/// Reads arguments up to a `|` or a closing bracket, as one argument.
fn sequence(rest: &mut &[&str]) -> Option<Arg> {
    let mut args: Vec<Arg> = Vec::new();
    // A token that has not met its argument.
    let mut token: Option<&str> = None;
    while let Some((&word, behind)) = rest.split_first() {
        if matches!(word, "|" | "]" | ">") {
            break;
        }
        *rest = behind;
        let arg = match word {
            "[" => match optional(rest) {
                Bracket::Repeats(count) => {
                    repeat(&mut args, count);
                    continue;
                }
                Bracket::Empty => continue,
                Bracket::Arg(arg) => {
                    if let Some(token) = token.take() {
                        args.push(pure_token(token));
                    }
                    args.push(arg);
                    continue;
                }
            },
            "<" => {
                let arg = choice(rest);
                close(rest, ">");
                match arg {
                    Some(arg) => arg,
                    None => continue,
                }
            }
            "..." => {
                repeat(&mut args, 1);
                continue;
            }
            word if is_token(word) => {
                if let Some(token) = token.replace(word) {
                    args.push(pure_token(token));
                }
                continue;
            }
            word => Arg {
                name: word.trim_matches('"').to_owned(),
                kind: kind_of(word),
                ..group(String::new(), Kind::String, Vec::new())
            },
        };
        match token.take() {
            None => args.push(arg),
            Some(token) => args.push(with_token(token, arg, rest)),
        }
    }
    args.extend(token.map(pure_token));
    if args.len() < 2 {
        return args.pop();
    }
    let name = args[0].name.clone();
    Some(group(name, Kind::Block, args))
}

/// An argument with the token before it. Plain arguments that follow directly belong to the token too.
fn with_token(token: &str, arg: Arg, rest: &mut &[&str]) -> Arg {
    let mut parts = vec![arg];
    while let Some((&word, behind)) = rest.split_first() {
        if is_token(word) || "[]<>|".contains(word) || word == "..." {
            break;
        }
        *rest = behind;
        let arg = group(word.to_owned(), kind_of(word), Vec::new());
        parts.push(arg);
    }
    let mut arg = match parts.len() {
        1 => parts.remove(0),
        _ => group(token.to_ascii_lowercase(), Kind::Block, parts),
    };
    arg.token = Some(token.to_owned());
    arg
}

enum Bracket {
    /// So many of the arguments before may be repeated.
    Repeats(usize),
    Arg(Arg),
    Empty,
}

/// Reads what stands between `[` and `]`.
fn optional(rest: &mut &[&str]) -> Bracket {
    let end = rest
        .iter()
        .position(|word| *word == "]")
        .unwrap_or(rest.len());
    let inside = &rest[..end];
    if let Some((&"...", repeated)) = inside.split_last()
        && !inside.contains(&"[")
    {
        let count = repeated.iter().filter(|word| !is_token(word)).count();
        *rest = &rest[(end + 1).min(rest.len())..];
        return Bracket::Repeats(count.max(1));
    }
    let arg = choice(rest);
    close(rest, "]");
    match arg {
        Some(mut arg) => {
            arg.optional = true;
            Bracket::Arg(arg)
        }
        None => Bracket::Empty,
    }
}

/// Says of the last `count` arguments that they may be repeated together.
fn repeat(args: &mut Vec<Arg>, count: usize) {
    let first = args.len().saturating_sub(count);
    let mut repeated = args.split_off(first);
    let mut arg = match repeated.len() {
        0 => return,
        1 => repeated.remove(0),
        _ => {
            let names: Vec<&str> = repeated.iter().map(|arg| arg.name.as_str()).collect();
            group(names.join("-"), Kind::Block, repeated)
        }
    };
    arg.multiple = true;
    args.push(arg);
}

fn close(rest: &mut &[&str], bracket: &str) {
    if let Some((first, behind)) = rest.split_first()
        && *first == bracket
    {
        *rest = behind;
    }
}

fn group(name: String, kind: Kind, parts: Vec<Arg>) -> Arg {
    Arg {
        name,
        kind,
        token: None,
        optional: false,
        multiple: false,
        parts,
    }
}

fn pure_token(token: &str) -> Arg {
    Arg {
        token: Some(token.to_owned()),
        ..group(token.to_ascii_lowercase(), Kind::PureToken, Vec::new())
    }
}

fn is_token(word: &str) -> bool {
    word.bytes().any(|byte| byte.is_ascii_uppercase())
        && !word.bytes().any(|byte| byte.is_ascii_lowercase())
        || matches!(word, "=" | "~")
}

/// The kind that goes with an argument's name.
fn kind_of(name: &str) -> Kind {
    match name {
        "key" | "source" | "destination" | "newkey" | "numkeys-key" => Kind::Key,
        _ if name.starts_with("key") && name[3..].bytes().all(|byte| byte.is_ascii_digit()) => {
            Kind::Key
        }
        "pattern" => Kind::Pattern,
        "timestamp" => Kind::UnixTime,
        _ if name.starts_with("unix-time") => Kind::UnixTime,
        "score" | "increment" | "timeout" | "weight" | "longitude" | "latitude" | "radius"
        | "width" | "height" => Kind::Double,
        "count" | "seconds" | "milliseconds" | "index" | "index1" | "index2" | "start" | "stop"
        | "end" | "offset" | "numkeys" | "cursor" | "decrement" | "db" | "ttl" | "rank" | "len"
        | "protover" | "client-id" | "port" | "samples" | "num-matches" | "bit" | "frequency"
        | "destination-db" | "min-match-len" => Kind::Integer,
        _ => Kind::String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree in one line: `token:name/kind`, `?` for optional, `+` for multiple, parts in parentheses.
    fn show(args: &[Arg]) -> String {
        let one = |arg: &Arg| {
            let token = arg
                .token
                .as_ref()
                .map(|token| format!("{token}:"))
                .unwrap_or_default();
            let parts = match arg.parts.as_slice() {
                [] => String::new(),
                parts => format!("({})", show(parts)),
            };
            let name = if arg.parts.is_empty() { &arg.name } else { "" };
            let (optional, multiple) = (
                if arg.optional { "?" } else { "" },
                if arg.multiple { "+" } else { "" },
            );
            format!(
                "{token}{name}/{}{optional}{multiple}{parts}",
                arg.kind.word()
            )
        };
        args.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn notation_becomes_a_tree() {
        for (syntax, tree) in [
            ("", ""),
            ("key", "key/key"),
            ("key [key ...]", "key/key+"),
            (
                "key field value [field value ...]",
                "key/key /block+(field/string value/string)",
            ),
            ("message [FORCE]", "message/string FORCE:force/pure-token?"),
            (
                "[ASYNC | SYNC]",
                "/oneof?(ASYNC:async/pure-token SYNC:sync/pure-token)",
            ),
            (
                "key [EX seconds | KEEPTTL] [LIMIT offset count]",
                "key/key /oneof?(EX:seconds/integer KEEPTTL:keepttl/pure-token) \
                 LIMIT:/block?(offset/integer count/integer)",
            ),
            (
                "numkeys key [key ...] [WITHSCORES]",
                "numkeys/integer key/key+ WITHSCORES:withscores/pure-token?",
            ),
            (
                "key <LEFT | RIGHT> [COUNT count]",
                "key/key /oneof(LEFT:left/pure-token RIGHT:right/pure-token) COUNT:count/integer?",
            ),
        ] {
            assert_eq!(show(&parse(syntax)), tree, "{syntax}");
        }
    }

    #[test]
    fn broken_notation_is_survived() {
        for syntax in [
            "[",
            "]",
            "a [b",
            "a ] b",
            "[...]",
            "...",
            "< | >",
            "A [[ B | ] c ...]",
        ] {
            parse(syntax);
        }
    }
}
