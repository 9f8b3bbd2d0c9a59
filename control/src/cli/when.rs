//! Times as people write and read them.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime};

/// Reads `2027-01-31T12:00:00Z`, `2027-01-31` (its first second, UTC) or a span from now: `90d`, `12h`, `30m`.
pub(crate) fn parse(text: &str, now: OffsetDateTime) -> Option<OffsetDateTime> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(time);
    }
    if let Ok(day) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
        return Some(day.midnight().assume_utc());
    }
    let number = text.strip_suffix(['d', 'h', 'm'])?;
    let number: i64 = number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok())??;
    let unit = match text.bytes().last()? {
        b'd' => Duration::DAY,
        b'h' => Duration::HOUR,
        _ => Duration::MINUTE,
    };
    now.checked_add(Duration::seconds(number.checked_mul(unit.whole_seconds())?))
}

/// How long ago: `5s`, `3m`, `7h`, `12d`.
pub(crate) fn age(then: i64, now: OffsetDateTime) -> String {
    let seconds = now.unix_timestamp().saturating_sub(then).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// As RFC 3339, in UTC.
pub(crate) fn show(unix: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(unix).ok().and_then(|time| time.format(&Rfc3339).ok());
    time.unwrap_or_else(|| unix.to_string())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn refuses_times_that_are_none() {
        for text in [
            "",
            "d",
            "-1d",
            "+1d",
            "1w",
            "1.5h",
            "2027-13-01",
            "tomorrow",
            "99999999999999d",
            "9223372036854775807d",
        ] {
            assert!(parse(text, OffsetDateTime::UNIX_EPOCH).is_none(), "{text}");
        }
    }

    #[test]
    fn reads_dates_and_spans() {
        let now = datetime!(2027-01-01 00:00 UTC);
        assert_eq!(parse("90m", now), Some(datetime!(2027-01-01 01:30 UTC)));
        assert_eq!(parse("31d", now), Some(datetime!(2027-02-01 00:00 UTC)));
        assert_eq!(parse("2027-02-01", now), Some(datetime!(2027-02-01 00:00 UTC)));
        assert_eq!(parse("2027-02-01T01:00:00+01:00", now), Some(datetime!(2027-02-01 00:00 UTC)));
        assert_eq!(age(now.unix_timestamp() - 86_400 * 3, now), "3d");
        assert_eq!(age(now.unix_timestamp() + 5, now), "0s");
        assert_eq!(show(now.unix_timestamp()), "2027-01-01T00:00:00Z");
    }
}
