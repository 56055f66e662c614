//! Doubles as text, the way Redis 7.0 reads scores and float arguments and writes them in replies.
//!
//! Reading accepts what C's `strtod` accepts (decimal, hexadecimal, `inf`, `infinity`, either case, either sign)
//! but no blanks, no trailing bytes, no NaN, no overflow and no underflow to zero. Writing is C's `%.17g`: up to 17
//! significant digits, exponent form below 1e-4 and from 1e17 on, no trailing zeros (`0.10000000000000001`,
//! `1e+17`, `inf`, `-0`).

/// Parses a score or a float argument; `None` where Redis says "not a valid float".
pub fn parse(text: &[u8]) -> Option<f64> {
    match parse_c(text)? {
        Parsed {
            value,
            out_of_range: true,
        } if value.is_infinite() || value == 0.0 => None,
        Parsed { value, .. } => (!value.is_nan()).then_some(value),
    }
}

/// Parses as `strtod` does where the caller ignores its range errors: an overflow is an infinity, an underflow
/// zero, leading blanks and the empty text (zero) are fine. Bounds of score ranges are read so. `None` for NaN and
/// for trailing bytes.
pub fn parse_lenient(text: &[u8]) -> Option<f64> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    if text.is_empty() {
        return Some(0.0);
    }
    let blanks = text.iter().take_while(|byte| is_blank(byte)).count();
    parse_c(&text[blanks..])
        .map(|parsed| parsed.value)
        .filter(|value| !value.is_nan())
}

struct Parsed {
    value: f64,
    /// The number written is too large for a double, or is not zero and too small for one.
    out_of_range: bool,
}

fn parse_c(text: &[u8]) -> Option<Parsed> {
    let unsigned = text
        .strip_prefix(b"-")
        .or_else(|| text.strip_prefix(b"+"))
        .unwrap_or(text);
    if let [b'0', b'x' | b'X', digits @ ..] = unsigned {
        let magnitude = parse_hex(digits)?;
        let value = if text[0] == b'-' {
            -magnitude.value
        } else {
            magnitude.value
        };
        return Some(Parsed { value, ..magnitude });
    }
    // Rust's grammar is strtod's without hexadecimal, blanks and NaN payloads.
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let starts_with_number = unsigned
        .first()
        .is_some_and(|byte| byte.is_ascii_digit() || *byte == b'.');
    let out_of_range =
        starts_with_number && (value.is_infinite() || (value == 0.0 && !is_written_zero(unsigned)));
    Some(Parsed {
        value,
        out_of_range,
    })
}

/// Whether a decimal number has no digit but zero before its exponent.
fn is_written_zero(unsigned: &[u8]) -> bool {
    unsigned
        .iter()
        .take_while(|byte| !matches!(byte, b'e' | b'E'))
        .all(|byte| matches!(byte, b'0' | b'.'))
}

/// Parses `1f.8p-3` (the part after `0x`), rounding to nearest even.
fn parse_hex(text: &[u8]) -> Option<Parsed> {
    let exponent_at = text.iter().position(|byte| matches!(byte, b'p' | b'P'));
    let (mantissa_text, exponent_text) = match exponent_at {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    // The first 30 significant hexadecimal digits are exact; of the rest only "not all zero" matters to rounding.
    let (mut mantissa, mut exponent, mut digits, mut seen_point) = (0u128, 0i64, 0usize, false);
    for &byte in mantissa_text {
        if byte == b'.' && !seen_point {
            seen_point = true;
            continue;
        }
        let digit = (byte as char).to_digit(16)?;
        digits += 1;
        if mantissa >> 120 == 0 {
            mantissa = mantissa << 4 | u128::from(digit);
            exponent -= if seen_point { 4 } else { 0 };
        } else {
            mantissa |= u128::from(digit != 0);
            exponent += if seen_point { 0 } else { 4 };
        }
    }
    if digits == 0 {
        return None;
    }
    if let Some(text) = exponent_text {
        exponent = exponent.saturating_add(parse_exponent(text)?);
    }
    Some(scale(mantissa, exponent))
}

/// Parses a decimal exponent with an optional sign; very large ones saturate.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = (value * 10 + i64::from(byte - b'0')).min(1 << 40);
    }
    Some(if negative { -value } else { value })
}

/// `mantissa × 2^exponent`, rounded once, to nearest even.
fn scale(mantissa: u128, exponent: i64) -> Parsed {
    if mantissa == 0 {
        return Parsed {
            value: 0.0,
            out_of_range: false,
        };
    }
    // Position of the leading bit: the value lies in 2^top .. 2^(top + 1).
    let top = exponent.saturating_add(127 - i64::from(mantissa.leading_zeros()));
    if top > 1023 {
        return Parsed {
            value: f64::INFINITY,
            out_of_range: true,
        };
    }
    // Weight of the last bit a double keeps here: 52 below the leading one, but never below 2^-1074.
    let last = (top - 52).max(-1074);
    let drop = last - exponent;
    let kept = if drop <= 0 {
        mantissa << (-drop)
    } else if drop > 127 {
        0
    } else {
        let kept = mantissa >> drop;
        let lost = mantissa & ((1 << drop) - 1);
        let half = 1u128 << (drop - 1);
        kept + u128::from(lost > half || (lost == half && kept & 1 == 1))
    };
    // `kept` has at most 54 bits, and 2^last is a double: both steps are exact, or overflow as they should.
    let value =
        kept as f64 * f64::powi(2.0, (last / 2) as i32) * f64::powi(2.0, (last - last / 2) as i32);
    Parsed {
        value,
        out_of_range: value.is_infinite() || value == 0.0,
    }
}

/// Appends the text of `value` to `out`, as C's `%.17g`.
pub fn append(out: &mut Vec<u8>, value: f64) {
    if value == value.trunc() && value.abs() < 1e17 && (value != 0.0 || value.is_sign_positive()) {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
        return;
    }
    if !value.is_finite() {
        let name: &[u8] = if value.is_nan() {
            b"nan"
        } else if value > 0.0 {
            b"inf"
        } else {
            b"-inf"
        };
        out.extend_from_slice(name);
        return;
    }
    let mut text = Scratch::default();
    // Seventeen significant digits, correctly rounded: `d.dddddddddddddddde<exponent>`.
    std::io::Write::write_fmt(&mut text, format_args!("{:.16e}", value.abs()))
        .expect("fits the scratch buffer");
    let text = text.as_bytes();
    let exponent_at = text
        .iter()
        .position(|&byte| byte == b'e')
        .expect("LowerExp writes an exponent");
    let exponent: i32 = std::str::from_utf8(&text[exponent_at + 1..])
        .ok()
        .and_then(|digits| digits.parse().ok())
        .expect("LowerExp writes a decimal exponent");
    let mut digits = [b'0'; 17];
    digits[0] = text[0];
    digits[1..].copy_from_slice(&text[2..18]);
    let significant = 17
        - digits
            .iter()
            .rev()
            .take_while(|&&digit| digit == b'0')
            .count();
    let digits = &digits[..significant.max(1)];
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if (-4..17).contains(&exponent) {
        append_fixed(out, digits, exponent);
    } else {
        append_scientific(out, digits, exponent);
    }
}

/// The text of `value` as an owned byte string.
pub fn to_vec(value: f64) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    append(&mut out, value);
    out
}

fn append_fixed(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + (-exponent - 1) as usize, b'0');
        out.extend_from_slice(digits);
        return;
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        out.extend_from_slice(digits);
        out.resize(out.len() + whole - digits.len(), b'0');
    } else {
        out.extend_from_slice(&digits[..whole]);
        out.push(b'.');
        out.extend_from_slice(&digits[whole..]);
    }
}

fn append_scientific(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    let magnitude = exponent.unsigned_abs();
    if magnitude < 10 {
        out.push(b'0');
    }
    out.extend_from_slice(itoa::Buffer::new().format(magnitude).as_bytes());
}

/// A fixed buffer to format into; 24 bytes are the longest `{:.16e}`.
#[derive(Default)]
struct Scratch {
    bytes: [u8; 32],
    len: usize,
}

impl Scratch {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl std::io::Write for Scratch {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = (&mut self.bytes[self.len..]).write(bytes)?;
        self.len += taken;
        Ok(taken)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "double_tests.rs"]
mod tests;
