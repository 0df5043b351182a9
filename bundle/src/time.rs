//! Times as documents have them.

use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::UnixTime;

/// Reads a time in UTC to the second, `2026-11-03T12:00:00Z`, and no other spelling of it.
pub(crate) fn read_time(text: &str) -> Result<Timestamp, String> {
    let time = text.parse::<Timestamp>().ok().filter(|time| show_time(*time) == text);
    time.ok_or_else(|| "is no time in UTC to the second, such as 2026-11-03T12:00:00Z".to_owned())
}

/// The time as [`read_time`] takes it.
pub(crate) fn show_time(time: Timestamp) -> String {
    to_second(time).to_string()
}

/// The time without what a document does not say of it.
pub(crate) fn to_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The time as webpki has it. Nothing was ever signed before 1970.
pub(crate) fn unix_time(time: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_one_spelling() {
        let text = "2026-11-03T12:00:00Z";
        assert_eq!(show_time(read_time(text).unwrap()), text);
        for text in [
            "2026-11-03T12:00:00+00:00",
            "2026-11-03T12:00:00.5Z",
            "2026-11-03t12:00:00z",
            "2026-11-03",
            "now",
            "",
        ] {
            assert!(read_time(text).is_err(), "{text}");
        }
    }
}
