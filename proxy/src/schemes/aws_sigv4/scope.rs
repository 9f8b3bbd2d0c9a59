//! The names that a signature is made for: time, region, service.
//!
//! Region and service are read by one strict grammar ([`control::aws::scope`]): a region never becomes part of a host, but it
//! stands in what is signed and sent.

use std::fmt;
use std::time::SystemTime;

pub use control::aws::scope::{AgentScope, Algorithm, ScopeFault, TERMINATOR};

/// A moment as AWS writes it: `20150830T123600Z`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stamp([u8; 16]);

impl Stamp {
    /// The moment; `None` outside the years 1970 to 9999.
    pub fn at(time: SystemTime) -> Option<Self> {
        let seconds = time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        let time = time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
        let (year, month, day) = time.to_calendar_date();
        let (hour, minute, second) = time.to_hms();
        let digits = [
            (u32::try_from(year).ok()?, 4),
            (u32::from(u8::from(month)), 2),
            (u32::from(day), 2),
            (u32::from(hour), 2),
            (u32::from(minute), 2),
            (u32::from(second), 2),
        ];
        let digits = digits.into_iter().flat_map(|(number, width)| {
            (0..width).rev().map(move |place| b'0' + (number / 10_u32.pow(place) % 10) as u8)
        });
        let mut text = *b"0000000000000000";
        // The digits stand around the `T`.
        let slots = text.iter_mut().enumerate().filter(|(at, _)| *at != 8 && *at != 15);
        slots.zip(digits).for_each(|((_, slot), digit)| *slot = digit);
        for (at, mark) in [(8, b'T'), (15, b'Z')] {
            if let Some(slot) = text.get_mut(at) {
                *slot = mark;
            }
        }
        Some(Self(text))
    }

    /// `20150830T123600Z`.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// `20150830`.
    pub fn day(&self) -> &str {
        self.text().get(..8).unwrap_or_default()
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Whether a text is the hash of a payload, as `x-amz-content-sha256` holds it.
pub fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn writes_moments_as_aws_does() {
        let at = |seconds| Stamp::at(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        assert_eq!(at(1_440_938_160).text(), "20150830T123600Z");
        assert_eq!(at(1_440_938_160).day(), "20150830");
        assert_eq!(at(0).text(), "19700101T000000Z");
        assert_eq!(at(1_709_251_199).text(), "20240229T235959Z");
        assert!(Stamp::at(SystemTime::UNIX_EPOCH + Duration::from_secs(300_000_000_000)).is_none());
        assert!(Stamp::at(SystemTime::UNIX_EPOCH - Duration::from_secs(1)).is_none());
    }
}
