use super::*;

fn text(value: f64) -> String {
    String::from_utf8(to_vec(value)).expect("ASCII")
}

#[test]
fn texts_are_those_of_redis_7_0() {
    for (value, expected) in [
        (1.1, "1.1000000000000001"),
        (0.1, "0.10000000000000001"),
        (0.0, "0"),
        (-0.0, "-0"),
        (3.0, "3"),
        (-3.5, "-3.5"),
        (1e16, "10000000000000000"),
        (1e17, "1e+17"),
        (123456789012345680.0, "1.2345678901234568e+17"),
        (9.3e18, "9.3e+18"),
        (1e-5, "1.0000000000000001e-05"),
        (1e-4, "0.0001"),
        (5e-324, "4.9406564584124654e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
        (1e-100, "1e-100"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        // Ties at the 17th digit go to the even one.
        (1234567890.0 + 1.0 / 256.0, "1234567890.0039062"),
        (1234567890.0 + 3.0 / 256.0, "1234567890.0117188"),
    ] {
        assert_eq!(text(value), expected);
    }
}

#[test]
fn reads_what_redis_reads() {
    for (text, expected) in [
        ("1", 1.0),
        ("+1", 1.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.5e1", -5.0),
        ("0x10", 16.0),
        ("-0x1.8p1", -3.0),
        ("0X.8", 0.5),
        ("0x1p-1074", 5e-324),
        ("0x1.fffffffffffff8p1022", f64::powi(2.0, 1023)),
        ("0x1.fffffffffffffp1023", f64::MAX),
        (
            "0x1000000000000000000000000000000000000000000000000p-192",
            1.0,
        ),
        ("0x0p999999999999999999999", 0.0),
        ("inf", f64::INFINITY),
        ("-Infinity", f64::NEG_INFINITY),
        ("5e-324", 5e-324),
        ("1e-320", 1e-320),
        ("0e-999", 0.0),
    ] {
        assert_eq!(parse(text.as_bytes()), Some(expected), "{text:?}");
    }
    for text in [
        "",
        " 1",
        "1 ",
        "nan",
        "+nan",
        "-nan",
        "nan(1)",
        ".",
        "e5",
        "1e",
        "1e+",
        "1e400",
        "-1e400",
        "1e-400",
        "0x",
        "0x.",
        "0xp1",
        "0x1p",
        "0x1p1024",
        "0x1.fffffffffffff8p1023",
        "0x1p-1080",
        "0x1p-1075",
        "1_0",
        "(1",
        "1e5x",
        "infi",
        "++5",
        "1\0",
        "\u{661}",
    ] {
        assert_eq!(parse(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn bounds_are_read_leniently() {
    assert_eq!(parse_lenient(b""), Some(0.0));
    assert_eq!(parse_lenient(b" 1"), Some(1.0));
    assert_eq!(parse_lenient(b"1e400"), Some(f64::INFINITY));
    assert_eq!(parse_lenient(b"-1e400"), Some(f64::NEG_INFINITY));
    assert_eq!(parse_lenient(b"nan"), None);
    assert_eq!(parse_lenient(b"1x"), None);
    assert_eq!(parse_lenient(b"-"), None);
    assert_eq!(parse_lenient(b" "), None);
}
