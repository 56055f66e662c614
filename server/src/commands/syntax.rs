//! COMMAND DOCS' argument trees, read from the notation in which the command table describes arguments.
//!
//! The notation: `WORD` is itself, `word` stands for an argument, `[...]` may be left out, `a | b` is a choice, `<...>`
//! holds together, and a `[x ...]` after `x` says that `x` may be repeated. A `WORD` belongs to the arguments behind it.
//!
//! What only COMMAND DOCS tells is said by marks, which [`plain`] takes away: `name=` at the beginning of brackets names
//! the group, `word:integer` says what an argument is whose name does not say it, and `word@1` that it is a key, or
//! makes one, of the command's key specification 1 (they count from 0, and a key without a mark has the next).

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
    /// With each repetition comes the word before it.
    pub multiple_token: bool,
    /// The key specification that it belongs to, if that is not the next one.
    pub key_spec: Option<i64>,
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
    const ALL: [Kind; 9] = [
        Kind::Key,
        Kind::String,
        Kind::Integer,
        Kind::Double,
        Kind::Pattern,
        Kind::UnixTime,
        Kind::PureToken,
        Kind::OneOf,
        Kind::Block,
    ];

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

/// The description without its marks, for people.
pub fn plain(syntax: &str) -> String {
    let mut text = String::with_capacity(syntax.len());
    for word in syntax.split_whitespace() {
        let opening = word.len() - word.trim_start_matches(['[', '<']).len();
        let (brackets, word) = word.split_at(opening);
        if !text.is_empty() && !text.ends_with(['[', '<']) {
            text.push(' ');
        }
        text.push_str(brackets);
        if group_name(word).is_some() {
            continue;
        }
        let closing = word.trim_end_matches([']', '>']).len();
        text.push_str(marks(&word[..closing]).name);
        text.push_str(&word[closing..]);
    }
    text
}

/// The name of a group, if this word gives one.
fn group_name(word: &str) -> Option<&str> {
    word.strip_suffix('=').filter(|name| !name.is_empty())
}

/// An argument's name, and what its marks say.
struct Marks<'s> {
    name: &'s str,
    kind: Option<Kind>,
    key_spec: Option<i64>,
}

fn marks(word: &str) -> Marks<'_> {
    let (word, key_spec) = match word.rsplit_once('@') {
        Some((word, number)) if !word.is_empty() && number.parse::<i64>().is_ok() => {
            (word, number.parse().ok())
        }
        _ => (word, None),
    };
    let marked = word.rsplit_once(':').and_then(|(name, kind)| {
        let kind = Kind::ALL.into_iter().find(|known| known.word() == kind)?;
        Some((name, kind))
    });
    let (name, kind) = match marked {
        Some((name, kind)) => (name, Some(kind)),
        None => (word, None),
    };
    Marks {
        name,
        kind,
        key_spec,
    }
}

/// The argument that a word stands for.
fn argument(word: &str) -> Arg {
    if word == "\"\"" {
        return Arg {
            token: Some(String::new()),
            ..group("empty_string".to_owned(), Kind::PureToken, Vec::new())
        };
    }
    let Marks {
        name,
        kind,
        key_spec,
    } = marks(word);
    Arg {
        key_spec,
        ..group(
            name.to_owned(),
            kind.unwrap_or_else(|| kind_of(name)),
            Vec::new(),
        )
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
    let name = rest.split_first().and_then(|(word, behind)| {
        let name = group_name(word)?;
        *rest = behind;
        Some(name)
    });
    let mut alternatives = Vec::new();
    loop {
        alternatives.extend(sequence(rest));
        match rest.split_first() {
            Some((&"|", behind)) => *rest = behind,
            _ => break,
        }
    }
    let mut arg = if alternatives.len() < 2 {
        alternatives.pop()?
    } else {
        let names: Vec<&str> = alternatives.iter().map(|arg| arg.name.as_str()).collect();
        group(names.join("_"), Kind::OneOf, alternatives)
    };
    if let Some(name) = name {
        arg.name = name.to_owned();
    }
    Some(arg)
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
                Bracket::Repeats { count, with_token } => {
                    repeat(&mut args, count, with_token);
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
                repeat(&mut args, 1, false);
                continue;
            }
            word if is_token(word) => {
                if let Some(token) = token.replace(word) {
                    args.push(pure_token(token));
                }
                continue;
            }
            word => argument(word),
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
        parts.push(argument(word));
    }
    let mut arg = match parts.len() {
        1 => parts.remove(0),
        _ => block(parts),
    };
    arg.token = Some(token.to_owned());
    arg
}

enum Bracket {
    /// So many of the arguments before may be repeated, with the word before them or without.
    Repeats {
        count: usize,
        with_token: bool,
    },
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
        return Bracket::Repeats {
            count: count.max(1),
            with_token: repeated.first().is_some_and(|word| is_token(word)),
        };
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
fn repeat(args: &mut Vec<Arg>, count: usize, with_token: bool) {
    let first = args.len().saturating_sub(count);
    let mut repeated = args.split_off(first);
    let mut arg = match repeated.len() {
        0 => return,
        1 => repeated.remove(0),
        _ => block(repeated),
    };
    arg.multiple = true;
    arg.multiple_token = with_token;
    args.push(arg);
}

/// Arguments that belong together, named after its parts.
fn block(parts: Vec<Arg>) -> Arg {
    let names: Vec<&str> = parts.iter().map(|arg| arg.name.as_str()).collect();
    group(names.join("_"), Kind::Block, parts)
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
        multiple_token: false,
        key_spec: None,
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
        "score" | "timeout" | "longitude" | "latitude" | "radius" | "width" | "height" => {
            Kind::Double
        }
        "count" | "seconds" | "milliseconds" | "index" | "index1" | "index2" | "start" | "stop"
        | "end" | "offset" | "numkeys" | "cursor" | "decrement" | "db" | "ttl" | "rank" | "len"
        | "protover" | "client-id" | "port" | "samples" | "num-matches" | "bit" | "frequency"
        | "destination-db" | "limit" | "increment" | "weight" | "bits" | "version" => Kind::Integer,
        _ => Kind::String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree in one line: `token:name/kind`, `?` for optional, `+` for multiple (`++` with the token), parts in
    /// parentheses.
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
            let name = &arg.name;
            let name = match arg.key_spec {
                Some(number) => format!("{name}@{number}"),
                None => name.to_owned(),
            };
            let (optional, multiple) = (
                if arg.optional { "?" } else { "" },
                match (arg.multiple, arg.multiple_token) {
                    (false, _) => "",
                    (true, false) => "+",
                    (true, true) => "++",
                },
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
                "key/key field_value/block+(field/string value/string)",
            ),
            ("message [FORCE]", "message/string FORCE:force/pure-token?"),
            (
                "[ASYNC | SYNC]",
                "async_sync/oneof?(ASYNC:async/pure-token SYNC:sync/pure-token)",
            ),
            (
                "key [expiration= EX seconds | KEEPTTL] [LIMIT offset count]",
                "key/key expiration/oneof?(EX:seconds/integer KEEPTTL:keepttl/pure-token) \
                 LIMIT:offset_count/block?(offset/integer count/integer)",
            ),
            (
                "numkeys key [key ...] [WITHSCORES]",
                "numkeys/integer key/key+ WITHSCORES:withscores/pure-token?",
            ),
            (
                "key <LEFT | RIGHT> [COUNT count]",
                "key/key left_right/oneof(LEFT:left/pure-token RIGHT:right/pure-token) COUNT:count/integer?",
            ),
            (
                "[GET pattern@1 [GET pattern ...]] [sorting= ALPHA] timeout:integer ip:port",
                "GET:pattern@1/pattern?++ ALPHA:sorting/pure-token? timeout/integer ip:port/string",
            ),
            (
                "<key | \"\"> [arguments= count [WITHVALUES]]",
                "key_empty_string/oneof(key/key :empty_string/pure-token) \
                 arguments/block?(count/integer WITHVALUES:withvalues/pure-token?)",
            ),
        ] {
            assert_eq!(show(&parse(syntax)), tree, "{syntax}");
        }
    }

    #[test]
    fn people_see_no_marks() {
        for (syntax, shown) in [
            ("", ""),
            ("dst:key src:key min max", "dst src min max"),
            ("key [condition= NX | XX] [GET]", "key [NX | XX] [GET]"),
            ("[BY pattern@1] [sorting= ALPHA]", "[BY pattern] [ALPHA]"),
            ("<where= LEFT | RIGHT> ip:port", "<LEFT | RIGHT> ip:port"),
            (
                "[arguments= count:integer [WITHVALUES]]",
                "[count [WITHVALUES]]",
            ),
            ("key [= | ~] a@b", "key [= | ~] a@b"),
        ] {
            assert_eq!(plain(syntax), shown);
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
            "[x=",
            "x= ] @1 :key",
        ] {
            parse(syntax);
        }
    }
}
