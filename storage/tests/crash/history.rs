//! Random commands: few keys of each type, so that they meet, and values small and large.

use rand::RngExt;
use rand::rngs::StdRng;

/// One command.
pub type Args = Vec<Vec<u8>>;

fn args(line: String) -> Args {
    line.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

/// Bytes that an encoding cannot make small, with ends of lines, and what frames begin with.
fn blob(rng: &mut StdRng, bytes: usize) -> Vec<u8> {
    let mut blob: Vec<u8> = (0..bytes).map(|_| rng.random()).collect();
    let frame = b"\r\n#F lsn=0000000000000000 len=00000000 crc=";
    if bytes > 2 * frame.len() && rng.random_bool(0.3) {
        let at = rng.random_range(0..bytes - frame.len());
        blob[at..at + frame.len()].copy_from_slice(frame);
    }
    blob
}

/// A command that may change something. Times to live are long past or far off, and nothing is left to the engine's own
/// dice: a run repeats.
pub fn command(rng: &mut StdRng) -> Args {
    let n = rng.random_range(0..6);
    let m = rng.random_range(0..6);
    let v: usize = rng.random_range(0..1000);
    match rng.random_range(0..46) {
        0 | 1 => args(format!("set s{n} value{v}")),
        2 => args(format!("incrby i{n} {v}")),
        3 => args(format!("append s{n} tail{v}")),
        4 => args(format!("setrange s{n} {m} xyz{v}")),
        5 => args(format!("set e{n} {v} exat {}", 4_102_444_800_usize + n)),
        6 => args(format!("set e{n} {v} pxat 1")),
        7 => args(format!("getdel s{n}")),
        8 => args(format!("incrbyfloat f{n} 1.{v}")),
        9 => args(format!("mset s{n} a s{m} b{v} new{n} {v}")),
        10 => args(format!("getset s{n} other{v}")),
        11 | 12 => args(format!("rpush l{n} a{v} b c{v}")),
        13 => args(format!("lpop l{n}")),
        14 => args(format!("lmove l{n} l{m} left right")),
        15 => args(format!("linsert l{n} before b mid{v}")),
        16 => args(format!("ltrim l{n} 0 20")),
        17 => args(format!("lset l{n} 0 set{v}")),
        18 | 19 => args(format!("hset h{n} f{m} v{v} g{v} w")),
        20 => args(format!("hdel h{n} f{m}")),
        21 => args(format!("hincrby h{n} count {v}")),
        22 => args(format!("hincrbyfloat h{n} float 0.{v}")),
        23 | 24 => args(format!("sadd t{n} {v} {} word{v}", v + 1)),
        25 => args(format!("spop t{n} 1000")),
        26 => args(format!("smove t{n} t{m} {v}")),
        27 => args(format!("sinterstore t{n} t{m} t{}", (m + 1) % 6)),
        28 | 29 => args(format!("zadd z{n} {v} m{v} {m} m{m}")),
        30 => args(format!("zincrby z{n} 1.5 m{m}")),
        31 => args(format!("zpopmin z{n}")),
        32 => args(format!("zunionstore z{n} 2 z{m} z{n} weights 2 1")),
        33 => args(format!("zremrangebyscore z{n} 0 {v}")),
        34 => args(format!("del s{n} l{m} h{n}")),
        35 => args(format!("unlink z{n} t{m}")),
        36 => args(format!("expireat s{n} {}", 4_102_444_800_usize + v)),
        37 => args(format!(
            "pexpireat h{n} {}",
            if v < 200 { 1 } else { 4_102_444_800_000 + v }
        )),
        38 => args(format!("persist s{n}")),
        39 => args(format!("rename new{n} s{m}")),
        40 => args(format!("copy h{n} h{m} db {} replace", v % 3)),
        41 => args(format!("move s{n} {}", v % 3)),
        42 => args(format!("sort l{n} alpha store l{m}")),
        43 => match v {
            0..100 => args("flushdb".into()),
            100..110 => args("flushall".into()),
            110..300 => args(format!("swapdb {} {}", v % 3, n % 3)),
            _ => args(format!("renamenx s{n} s{m}")),
        },
        44 => vec![
            b"set".to_vec(),
            format!("blob{n}").into_bytes(),
            blob(rng, v),
        ],
        // Longer than a segment, now and then than the ring.
        _ => {
            let bytes = if v < 100 { 20_000 } else { 3_000 };
            vec![
                b"set".to_vec(),
                format!("blob{n}").into_bytes(),
                blob(rng, bytes),
            ]
        }
    }
}

/// What a transaction can hold: anything but large values.
pub fn transaction(rng: &mut StdRng) -> Vec<Args> {
    (0..rng.random_range(2..6)).map(|_| command(rng)).collect()
}
