//! The arithmetic of INCRBYFLOAT and HINCRBYFLOAT: C's 80-bit `long double`, on any machine.
//!
//! Values are read as `strtold` reads them, added with 64 bits of precision, and written as C's `%.17Lf` without
//! trailing zeros: always in fixed notation, so `0.1 + 0.2` is `0.3`.

use rustc_apfloat::ieee::X87DoubleExtended;
use rustc_apfloat::{Float, Round};

/// Redis refuses longer texts.
const TEXT_MAX: usize = 5 * 1024;

/// Decimal places of `%.17Lf`.
const PLACES: usize = 17;

/// An 80-bit extended-precision number; never NaN.
#[derive(Clone, Copy, Debug)]
pub struct LongDouble(X87DoubleExtended);

impl LongDouble {
    /// Zero, what an increment of a missing key starts from.
    pub const ZERO: LongDouble = LongDouble(X87DoubleExtended::ZERO);

    /// Parses a value or an increment; `None` where Redis says "not a valid float".
    ///
    /// Accepts infinities, as Redis does; adding one is then refused by [`LongDouble::checked_add`].
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() >= TEXT_MAX {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let (negative, unsigned) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let magnitude = parse_magnitude(unsigned)?;
        Some(LongDouble(if negative { -magnitude } else { magnitude }))
    }

    /// The sum; `None` if it is NaN or infinite, where Redis says "increment would produce NaN or Infinity".
    pub fn checked_add(self, other: LongDouble) -> Option<LongDouble> {
        let sum = (self.0 + other.0).value;
        sum.is_finite().then_some(LongDouble(sum))
    }

    /// Appends the text of the value to `out`.
    pub fn append(self, out: &mut Vec<u8>) {
        if !self.0.is_finite() {
            out.extend_from_slice(if self.0.is_negative() {
                b"-inf"
            } else {
                b"inf"
            });
            return;
        }
        // Bit 79 is the sign, then 15 bits of exponent, then 64 bits of mantissa with its leading one.
        let bits = self.0.to_bits();
        let mantissa = bits as u64;
        let exponent = (((bits >> 64) & 0x7fff) as i32).max(1) - 16383 - 63;
        let start = out.len();
        if bits >> 79 & 1 == 1 {
            out.push(b'-');
        }
        if exponent >= 0 {
            append_shifted(out, mantissa, exponent as u32);
        } else {
            append_fraction(out, mantissa, exponent.unsigned_abs());
        }
        if &out[start..] == b"-0" {
            out.remove(start);
        }
    }

    /// The text of the value as an owned byte string.
    pub fn to_vec(self) -> Vec<u8> {
        let mut out = Vec::new();
        self.append(&mut out);
        out
    }
}

fn parse_magnitude(unsigned: &str) -> Option<X87DoubleExtended> {
    if unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity") {
        return Some(X87DoubleExtended::INFINITY);
    }
    let is_hex = unsigned
        .get(..2)
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case("0x"));
    let (body, radix, marks) = if is_hex {
        (&unsigned[2..], 16, ['p', 'P'])
    } else {
        (unsigned, 10, ['e', 'E'])
    };
    let (mantissa, exponent) = match body.split_once(marks) {
        Some((mantissa, exponent)) => (mantissa, clamp_exponent(exponent)?),
        None => (body, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = whole.chars().chain(fraction.chars()).peekable();
    digits.peek()?;
    let mut is_zero = true;
    for digit in digits {
        is_zero &= digit.to_digit(radix)? == 0;
    }
    if is_zero {
        return Some(X87DoubleExtended::ZERO);
    }
    let prefix = if is_hex { "0x" } else { "" };
    let normal = format!("{prefix}0{whole}.{fraction}0{}{exponent}", marks[0]);
    let value = X87DoubleExtended::from_str_r(&normal, Round::NearestTiesToEven)
        .ok()?
        .value;
    // Not zero as written, so zero means an underflow.
    (value.is_finite() && !value.is_zero()).then_some(value)
}

/// Parses an exponent; beyond any that matters it saturates, so that it cannot overflow later.
fn clamp_exponent(text: &str) -> Option<i32> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i32;
    for digit in digits.chars() {
        value = (value * 10 + digit.to_digit(10)? as i32).min(100_000);
    }
    Some(if negative { -value } else { value })
}

/// Appends `mantissa × 2^-shift`, `shift > 0`, rounded to nearest even at [`PLACES`] places.
fn append_fraction(out: &mut Vec<u8>, mantissa: u64, shift: u32) {
    const ONE: u128 = 10u128.pow(PLACES as u32);
    // At most 64 + 57 bits.
    let scaled = u128::from(mantissa) * ONE;
    let rounded = if shift > 127 {
        0
    } else {
        let (kept, lost, half) = (
            scaled >> shift,
            scaled & ((1 << shift) - 1),
            1u128 << (shift - 1),
        );
        kept + u128::from(lost > half || (lost == half && kept & 1 == 1))
    };
    let whole = (rounded / ONE) as u64;
    out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    let mut fraction = rounded % ONE;
    if fraction == 0 {
        return;
    }
    let mut digits = [b'0'; PLACES];
    for digit in digits.iter_mut().rev() {
        *digit += (fraction % 10) as u8;
        fraction /= 10;
    }
    let zeros = digits
        .iter()
        .rev()
        .take_while(|&&digit| digit == b'0')
        .count();
    out.push(b'.');
    out.extend_from_slice(&digits[..PLACES - zeros]);
}

/// Appends the integer `mantissa × 2^shift`, which may have nearly 5000 digits.
fn append_shifted(out: &mut Vec<u8>, mantissa: u64, shift: u32) {
    const BILLION: u64 = 1_000_000_000;
    // Little-endian limbs of nine decimal digits; shifted by up to 32 bits at a time.
    let mut limbs: Vec<u32> = Vec::new();
    let mut rest = mantissa;
    while rest > 0 {
        limbs.push((rest % BILLION) as u32);
        rest /= BILLION;
    }
    let mut left = shift;
    while left > 0 {
        let step = left.min(32);
        let mut carry = 0u64;
        for limb in &mut limbs {
            let value = (u64::from(*limb) << step) + carry;
            *limb = (value % BILLION) as u32;
            carry = value / BILLION;
        }
        while carry > 0 {
            limbs.push((carry % BILLION) as u32);
            carry /= BILLION;
        }
        left -= step;
    }
    let mut buffer = itoa::Buffer::new();
    out.extend_from_slice(buffer.format(limbs.last().copied().unwrap_or(0)).as_bytes());
    for limb in limbs.iter().rev().skip(1) {
        let text = buffer.format(*limb).as_bytes();
        out.resize(out.len() + 9 - text.len(), b'0');
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(a: &str, b: &str) -> Option<String> {
        let sum = LongDouble::parse(a.as_bytes())?.checked_add(LongDouble::parse(b.as_bytes())?)?;
        Some(String::from_utf8(sum.to_vec()).expect("ASCII"))
    }

    #[test]
    fn sums_are_those_of_redis() {
        for (a, b, sum) in [
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("1", "-1", "0"),
            ("-0.0", "-0", "0"),
            ("3.0", "1.000000000000000000000000000000005", "4"),
            ("1e18", "1", "1000000000000000001"),
            ("0x10", "0x.8", "16.5"),
            ("-1.5", "0", "-1.5"),
            ("1e-18", "0", "0"),
            ("-1e-18", "0", "0"),
            ("1e30", "0", "1000000000000000000024696061952"),
        ] {
            assert_eq!(add(a, b).as_deref(), Some(sum), "{a} + {b}");
        }
    }

    #[test]
    fn infinite_sums_are_refused() {
        assert_eq!(add("inf", "1"), None);
        assert_eq!(add("inf", "-inf"), None);
        assert_eq!(add("1.1e4932", "1.1e4932"), None);
        assert_eq!(add("1e4932", "0").map(|text| text.len()), Some(4933));
    }

    #[test]
    fn texts_that_are_no_floats_are_refused() {
        for text in [
            "", " 1", "1 ", "nan", "-nan", ".", "1e", "e1", "0x", "0xp1", "0x1p", "1e5000",
            "1e-5000", "1x", "--1", "1.2.3", "\u{661}",
        ] {
            assert!(LongDouble::parse(text.as_bytes()).is_none(), "{text:?}");
        }
        assert!(LongDouble::parse("1".repeat(6000).as_bytes()).is_none());
        assert!(LongDouble::parse(b"0e99999999999999999999").is_some());
    }
}
