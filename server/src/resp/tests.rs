//! The parser against Redis's texts, against a slow reference, and cut in every way.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const LIMITS: Limits = Limits {
    bulk_bytes_max: 512 << 20,
    authenticated: true,
};

/// A request as the tests compare it: its arguments, and its bytes if it is canonical.
type Owned = (Vec<Vec<u8>>, Option<Vec<u8>>);

/// Feeds `input` in pieces that end at `cuts` (and at the end) and collects every request.
fn parse_in_pieces(
    input: &[u8],
    cuts: &[usize],
    window: usize,
    limits: &Limits,
) -> (Vec<Owned>, Option<ProtocolError>) {
    let (mut parser, mut batch) = (Parser::new(), Batch::default());
    let mut buf: Vec<u8> = Vec::new();
    let mut requests = Vec::new();
    let mut fed = 0;
    for &cut in cuts.iter().chain([&input.len()]) {
        buf.extend(&input[fed..cut]);
        fed = cut;
        loop {
            let (consumed, stop) = parser.parse(&mut buf, limits, window, &mut batch);
            for request in batch.iter() {
                assert!(!request.args.is_empty());
                let args = request
                    .args
                    .iter()
                    .map(|arg| arg.of(&buf).to_vec())
                    .collect();
                requests.push((args, request.raw.map(|raw| buf[raw].to_vec())));
            }
            buf.drain(..consumed);
            match stop {
                Stop::Full => continue,
                Stop::Incomplete { missing } => {
                    assert!(missing > 0);
                    break;
                }
                Stop::Broken(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

fn parse(input: &[u8]) -> (Vec<Owned>, Option<ProtocolError>) {
    parse_in_pieces(input, &[], 32, &LIMITS)
}

fn error_text(input: &[u8], limits: &Limits) -> String {
    let (_, error) = parse_in_pieces(input, &[], 32, limits);
    error
        .map(|error| String::from_utf8_lossy(&error.reply()).into_owned())
        .unwrap_or_default()
}

/// The same language read from the whole input at once, in the most obvious way.
fn reference(mut input: &[u8], limits: &Limits) -> (Vec<Owned>, Option<ProtocolError>) {
    fn line(input: &[u8], end: u8, too_big: ProtocolError) -> Result<Option<&[u8]>, ProtocolError> {
        for (index, &byte) in input.iter().enumerate().take(LINE_BYTES_MAX + 1) {
            if byte == end {
                return Ok(Some(&input[..index]));
            }
            if byte == 0 {
                break;
            }
        }
        if input.len() > LINE_BYTES_MAX {
            Err(too_big)
        } else {
            Ok(None)
        }
    }
    fn integer(text: &[u8]) -> Option<i64> {
        let value: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
        (value.to_string().as_bytes() == text).then_some(value)
    }
    fn one(input: &[u8], limits: &Limits) -> Result<Option<(Owned, usize)>, ProtocolError> {
        if input.is_empty() {
            return Ok(None);
        }
        if input[0] != b'*' {
            let Some(text) = line(input, b'\n', ProtocolError::InlineTooBig)? else {
                return Ok(None);
            };
            let args = quote::split(text.strip_suffix(b"\r").unwrap_or(text))
                .ok_or(ProtocolError::UnbalancedQuotes)?;
            return Ok(Some(((args, None), text.len() + 1)));
        }
        let Some(text) = line(input, b'\r', ProtocolError::CountLineTooBig)? else {
            return Ok(None);
        };
        let mut at = text.len() + 2;
        if at > input.len() {
            return Ok(None);
        }
        let count = integer(&text[1..])
            .filter(|&count| count <= ARGS_MAX)
            .ok_or(ProtocolError::InvalidCount)?;
        if count > 10 && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedCount);
        }
        let mut args: Vec<Vec<u8>> = Vec::new();
        for _ in 0..count.max(0) {
            let rest = &input[at..];
            let Some(text) = line(rest, b'\r', ProtocolError::LengthLineTooBig)? else {
                return Ok(None);
            };
            if text.len() + 2 > rest.len() {
                return Ok(None);
            }
            if rest[0] != b'$' {
                return Err(ProtocolError::ExpectedDollar(rest[0]));
            }
            let length = integer(&text[1..]).ok_or(ProtocolError::InvalidLength)?;
            if length < 0 || length as u64 > limits.bulk_bytes_max {
                return Err(ProtocolError::InvalidLength);
            }
            if length > 16384 && !limits.authenticated {
                return Err(ProtocolError::UnauthenticatedLength);
            }
            let payload = &rest[text.len() + 2..];
            let length = length as usize;
            if payload.len() < length + 2 {
                return Ok(None);
            }
            args.push(payload[..length].to_vec());
            at += text.len() + 2 + length + 2;
        }
        let mut canonical = format!("*{}\r\n", args.len()).into_bytes();
        for arg in &args {
            canonical.extend(
                format!("${}\r\n", arg.len())
                    .bytes()
                    .chain(arg.iter().copied())
                    .chain(*b"\r\n"),
            );
        }
        let raw = (canonical == input[..at]).then_some(canonical);
        Ok(Some(((args, raw), at)))
    }
    let mut requests = Vec::new();
    loop {
        match one(input, limits) {
            Ok(None) => return (requests, None),
            Ok(Some((request, length))) => {
                if !request.0.is_empty() {
                    requests.push(request);
                }
                input = &input[length..];
            }
            Err(error) => return (requests, Some(error)),
        }
    }
}

#[test]
fn canonical_request_keeps_its_bytes() {
    let input = b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n";
    let want = vec![(vec![b"GET".to_vec(), vec![]], Some(input.to_vec()))];
    assert_eq!(parse(input), (want, None));
}

#[test]
fn sloppy_line_ends_are_read_but_not_canonical() {
    for input in [
        &b"*1\rX$4\r\nPING\r\n"[..],
        b"*1\r\n$4\rXPING\r\n",
        b"*1\r\n$4\r\nPINGab",
    ] {
        assert_eq!(parse(input), (vec![(vec![b"PING".to_vec()], None)], None));
    }
}

#[test]
fn empty_requests_are_skipped() {
    let input = b"\r\n\n*0\r\n*-1\r\n*-10\r\n   \r\nPING\n";
    assert_eq!(parse(input), (vec![(vec![b"PING".to_vec()], None)], None));
}

#[test]
fn inline_arguments_are_unquoted() {
    let input = b"set \"a\\x00b\" 'c d' e\"f\"\r\n*1\r\n$4\r\nPING\r\n";
    let (requests, error) = parse(input);
    assert_eq!(error, None);
    assert_eq!(
        requests[0],
        (
            vec![
                b"set".to_vec(),
                b"a\0b".to_vec(),
                b"c d".to_vec(),
                b"ef".to_vec()
            ],
            None
        )
    );
    assert_eq!(requests[1].1.as_deref(), Some(&input[input.len() - 14..]));
}

/// The texts are those that redis-server 7.0.15 sends for the same input.
#[test]
fn error_texts_are_those_of_redis() {
    let long = [b'A'; 70_000];
    let after = |start: &[u8]| [start, &long].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"*3000000000\r\n".to_vec(), "invalid multibulk length"),
        (b"*+1\r\n".to_vec(), "invalid multibulk length"),
        (b"*01\r\n".to_vec(), "invalid multibulk length"),
        (b"*\r\n".to_vec(), "invalid multibulk length"),
        (b"*1 \r\n".to_vec(), "invalid multibulk length"),
        (
            b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n".to_vec(),
            "expected '$', got 'f'",
        ),
        (b"*1\r\n\r\n".to_vec(), "expected '$', got ' '"),
        (b"*1\r\n\n\r\n".to_vec(), "expected '$', got ' '"),
        (
            b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$-10\r\n".to_vec(),
            "invalid bulk length",
        ),
        (
            b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$2000000000\r\n".to_vec(),
            "invalid bulk length",
        ),
        (b"*1\r\n$blabla\r\n".to_vec(), "invalid bulk length"),
        (b"*1\r\n$01\r\n".to_vec(), "invalid bulk length"),
        (b"*1\r\n$\r\n".to_vec(), "invalid bulk length"),
        (
            b"set \"\"\"test-key\"\"\" test-value\r\n".to_vec(),
            "unbalanced quotes in request",
        ),
        (after(b"\0"), "too big inline request"),
        (after(b""), "too big inline request"),
        (after(b"*\0"), "too big mbulk count string"),
        (after(b"*"), "too big mbulk count string"),
        (after(b"$\0"), "too big inline request"),
        (after(b"*1\r\n$"), "too big bulk count string"),
    ];
    for (input, text) in cases {
        let shown = String::from_utf8_lossy(&input[..input.len().min(40)]).into_owned();
        assert_eq!(
            error_text(&input, &LIMITS),
            format!("ERR Protocol error: {text}"),
            "{shown:?}"
        );
    }
}

#[test]
fn unauthenticated_client_has_tiny_limits() {
    let limits = Limits {
        authenticated: false,
        ..LIMITS
    };
    assert_eq!(
        error_text(b"*11\r\n", &limits),
        "ERR Protocol error: unauthenticated multibulk length"
    );
    assert_eq!(
        error_text(b"*1\r\n$16385\r\n", &limits),
        "ERR Protocol error: unauthenticated bulk length"
    );
    assert_eq!(error_text(b"*10\r\n$16384\r\n", &limits), "");
    let mut batch = Batch::default();
    let mut two = b"PING\r\nPING\r\n".to_vec();
    let (consumed, stop) = Parser::new().parse(&mut two, &limits, 32, &mut batch);
    assert_eq!((consumed, stop, batch.len()), (6, Stop::Full, 1));
}

#[test]
fn requests_before_an_error_are_delivered() {
    let (requests, error) = parse(b"*1\r\n$4\r\nPING\r\n*1\r\n?\r\n");
    assert_eq!(requests.len(), 1);
    assert_eq!(error, Some(ProtocolError::ExpectedDollar(b'?')));
}

#[test]
fn line_limit_is_exact() {
    let fits = [vec![b'a'; LINE_BYTES_MAX], b"\n".to_vec()].concat();
    assert_eq!(parse(&fits).0.len(), 1);
    let too_long = [vec![b'a'; LINE_BYTES_MAX + 1], b"\n".to_vec()].concat();
    assert_eq!(parse(&too_long).1, Some(ProtocolError::InlineTooBig));
}

#[test]
fn announced_bytes_are_not_reserved() {
    let (mut parser, mut batch) = (Parser::new(), Batch::default());
    let mut buf = b"*2147483647\r\n$536870912\r\nabc".to_vec();
    let (consumed, stop) = parser.parse(&mut buf, &LIMITS, 32, &mut batch);
    assert_eq!(
        (consumed, stop),
        (
            0,
            Stop::Incomplete {
                missing: (512 << 20) + 2 - 3
            }
        )
    );
    assert!(parser.memory_usage() < 1024);
}

/// The pieces of a large argument must not each cost a look at all the bytes before them: the parser's position
/// only moves when the argument is complete.
#[test]
fn large_argument_in_pieces_is_not_rescanned() {
    let (mut parser, mut batch) = (Parser::new(), Batch::default());
    let mut buf = b"*1\r\n$8388608\r\n".to_vec();
    let header = buf.len();
    for _ in 0..(8 << 20) / 4096 {
        let (consumed, _) = parser.parse(&mut buf, &LIMITS, 32, &mut batch);
        assert_eq!((consumed, batch.len(), parser.scanned), (0, 0, 0));
        assert_eq!(parser.pending.as_ref().unwrap().position, header);
        buf.resize(buf.len() + 4096, b'x');
    }
    buf.extend(b"\r\n");
    let (consumed, _) = parser.parse(&mut buf, &LIMITS, 32, &mut batch);
    assert_eq!((consumed, batch.len()), (buf.len(), 1));
    assert_eq!(batch.get(0).raw, Some(0..buf.len()));
}

#[test]
fn any_cut_gives_the_same_requests() {
    let seed = std::env::var("HARDTACK_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(7u64);
    let rounds = std::env::var("HARDTACK_TEST_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(3000u64);
    let mut rng = StdRng::seed_from_u64(seed);
    for round in 0..rounds {
        let input = random_input(&mut rng);
        let limits = Limits {
            bulk_bytes_max: 70_000,
            authenticated: rng.random_bool(0.8),
        };
        let want = reference(&input, &limits);
        let mut cuts: Vec<usize> = match rng.random_range(0..4) {
            0 if input.len() < 3000 => (0..input.len()).collect(),
            1 => vec![],
            _ => (0..rng.random_range(1..12))
                .map(|_| rng.random_range(0..=input.len()))
                .collect(),
        };
        cuts.sort_unstable();
        let window = rng.random_range(1..6);
        let got = parse_in_pieces(&input, &cuts, window, &limits);
        assert!(
            got == want,
            "seed {seed} round {round}: cuts {cuts:?} of {:?}",
            String::from_utf8_lossy(&input)
        );
    }
}

/// A stream of mostly sound requests with every kind of damage now and then.
fn random_input(rng: &mut StdRng) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..rng.random_range(1..8) {
        match rng.random_range(0..20) {
            0 => input.extend(
                *[&b"\r\n"[..], b"\n", b"*0\r\n", b"*-1\r\n", b" \t\r\n"]
                    .get(rng.random_range(0..5))
                    .unwrap(),
            ),
            1 => input.extend(b"set \"a b\\x41\" 'q' plain\r\n"),
            2 => input.extend(
                (0..rng.random_range(0..40))
                    .map(|_| b"*$\r\n\0 12\"'a\\x-+"[rng.random_range(0..15)]),
            ),
            3 if rng.random_bool(0.2) => input.extend(vec![
                b"a \r1\0"[rng.random_range(0..5)];
                rng.random_range(65_000..66_500)
            ]),
            _ => {
                let count = if rng.random_bool(0.05) {
                    rng.random_range(9..1200)
                } else {
                    rng.random_range(1..5)
                };
                input.extend(format!("*{count}\r\n").bytes());
                for _ in 0..count {
                    let length = match rng.random_range(0..60) {
                        0 => rng.random_range(990..1010),
                        1 if count < 12 => rng.random_range(16_380..16_390),
                        _ => rng.random_range(0..12),
                    };
                    input.extend(format!("${length}\r\n").bytes());
                    input.extend((0..length).map(|_| rng.random::<u8>()));
                    input.extend(b"\r\n");
                }
            }
        }
    }
    if rng.random_bool(0.3) && !input.is_empty() {
        let at = rng.random_range(0..input.len());
        input[at] = b"\r\n*$0a\0"[rng.random_range(0..7)];
    }
    if rng.random_bool(0.3) {
        input.truncate(rng.random_range(0..=input.len()));
    }
    input
}

/// Not a test of behaviour: prints the cost of a request in a pipeline. `cargo test --release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure_pipelines() {
    for (name, pipeline) in [
        ("64 x SET key:000000012345 16 bytes", 64),
        ("16 x SET", 16),
        ("1 x SET", 1),
    ] {
        let one = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000012345\r\n$16\r\nabcdefghijklmnop\r\n";
        let mut buf = one.repeat(pipeline);
        let (mut parser, mut batch) = (Parser::new(), Batch::default());
        let rounds = 3_000_000 / pipeline;
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            let mut at = 0;
            while at < buf.len() {
                at += parser
                    .parse(
                        std::hint::black_box(&mut buf[at..]),
                        &LIMITS,
                        32,
                        &mut batch,
                    )
                    .0;
                std::hint::black_box(&batch);
            }
        }
        let each = start.elapsed().as_nanos() as f64 / (rounds * pipeline) as f64;
        println!("{name}: {each:.1} ns a request");
    }
}
