//! Points in time on the command line and in what the tools print: UTC, so that they mean the same everywhere.
//!
//! Written `2026-11-22 11:20:33.123Z`. Read in that form, with `T` for the blank, without the fraction, the seconds or
//! the time of day, with an offset (`+02:00`) for the `Z` or without either; and as `@` with seconds since 1970.

use std::fmt;

use hardtack_storage::UnixMillis;

const DAY_MS: i64 = 86_400_000;

/// A time as the tools print it.
#[derive(Clone, Copy, Debug)]
pub struct Shown(pub UnixMillis);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.0;
        let (year, month, day) = civil(ms.div_euclid(DAY_MS));
        let of_day = ms.rem_euclid(DAY_MS);
        let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
        let (second, milli) = (of_day / 1000 % 60, of_day % 1000);
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{milli:03}Z"
        )
    }
}

/// Reads a time; see the module header. `None` if it is none.
pub fn parse(text: &str) -> Option<UnixMillis> {
    if let Some(seconds) = text.strip_prefix('@') {
        let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
        let whole: i64 = digits(whole)?;
        return Some(UnixMillis(whole.checked_mul(1000)? + millis(fraction)?));
    }
    let (date, rest) = text.split_at_checked(10)?;
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if (year.len(), month.len(), day.len()) != (4, 2, 2) {
        return None;
    }
    let (year, month, day) = (digits(year)?, digits(month)?, digits(day)?);
    let days = days(year, month, day);
    if civil(days) != (year, month, day) {
        return None;
    }
    let Some(time) = rest.strip_prefix([' ', 'T']) else {
        return rest.is_empty().then_some(UnixMillis(days * DAY_MS));
    };
    let (time, offset_minutes) = split_offset(time)?;
    let mut parts = time.splitn(3, ':');
    let (hour, minute) = (parts.next()?, parts.next()?);
    let (second, fraction) = match parts.next() {
        None => ("00", ""),
        Some(second) => second.split_once('.').unwrap_or((second, "")),
    };
    if [hour, minute, second].iter().any(|part| part.len() != 2) {
        return None;
    }
    let (hour, minute, second) = (digits(hour)?, digits(minute)?, digits(second)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let of_day = ((hour * 60 + minute) * 60 + second) * 1000 + millis(fraction)?;
    Some(UnixMillis(days * DAY_MS + of_day - offset_minutes * 60_000))
}

/// Splits `Z` or an offset from the end of a time of day; the offset in minutes.
fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(at) = time.find(['+', '-']) else {
        return Some((time, 0));
    };
    let (hours, minutes) = time[at + 1..].split_once(':')?;
    let minutes = digits(hours)? * 60 + digits(minutes)?;
    if minutes >= 24 * 60 {
        return None;
    }
    let sign = if time[at..].starts_with('-') { -1 } else { 1 };
    Some((&time[..at], sign * minutes))
}

fn digits(text: &str) -> Option<i64> {
    let all = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // More would be no time that anybody means, and could overflow.
    text.parse().ok().filter(|_| all && text.len() <= 12)
}

/// The first three digits of a fraction of a second, as milliseconds.
fn millis(fraction: &str) -> Option<i64> {
    if fraction.is_empty() {
        return Some(0);
    }
    digits(fraction)?;
    let padded = format!("{fraction:0<3}");
    digits(&padded[..3])
}

/// Days since 1970 of a date in the Gregorian calendar. A year begins in March here: the leap day is then its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_again() {
        for (ms, text) in [
            (0, "1970-01-01 00:00:00.000Z"),
            (951_782_400_000, "2000-02-29 00:00:00.000Z"),
            (1_795_346_433_123, "2026-11-22 11:20:33.123Z"),
            (4_107_542_399_999, "2100-02-28 23:59:59.999Z"),
        ] {
            assert_eq!(Shown(UnixMillis(ms)).to_string(), text);
            assert_eq!(parse(text), Some(UnixMillis(ms)), "{text}");
        }
        for day in -1_000_000..1_000_000 {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, month, date), day);
        }
    }

    #[test]
    fn other_forms_are_read() {
        let at = Some(UnixMillis(1_795_346_400_000));
        for text in [
            "2026-11-22 11:20",
            "2026-11-22T11:20:00Z",
            "2026-11-22T13:20:00+02:00",
            "2026-11-22 08:50-02:30",
            "@1795346400",
            "@1795346400.0",
        ] {
            assert_eq!(parse(text), at, "{text}");
        }
        assert_eq!(parse("2026-11-22"), Some(UnixMillis(1_795_305_600_000)));
        assert_eq!(parse("@1.5"), Some(UnixMillis(1500)));
        for text in [
            "",
            "123",
            "2026-02-30",
            "2026-11-22 25:00",
            "2026-11-22 11",
            "2026-11-22 1:20",
            "@x",
            "@-1",
            "2026-11-22x11:20",
            "2026-11-22 11:20+99:00",
            "ähmähmäh-11",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
