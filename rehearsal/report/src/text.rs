//! Numbers and times as people read them.

use std::time::{Duration, UNIX_EPOCH};

/// `2026-02-10 12:00:00 UTC`.
pub(crate) fn time(unix_ms: u64) -> String {
    // RFC 3339 ends with the year 9999.
    let unix_s = (unix_ms / 1000).min(253_402_300_799);
    let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix_s));
    text.to_string().replace('T', " ").replace('Z', " UTC")
}

/// `6 min 03 s`, `12.3 s`.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=59_999 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        60_000..=3_599_999 => format!("{} min {:02} s", ms / 60_000, ms % 60_000 / 1000),
        _ => format!("{} h {:02} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// Microseconds as milliseconds, rounded, with as many decimals as tell something.
pub(crate) fn millis(us: u64) -> String {
    match us {
        0..=9_994 => {
            let hundredths = (us + 5) / 10;
            format!("{}.{:02}", hundredths / 100, hundredths % 100)
        }
        9_995..=999_949 => {
            let tenths = (us + 50) / 100;
            format!("{}.{}", tenths / 10, tenths % 10)
        }
        _ => grouped(us / 1000 + u64::from(us % 1000 >= 500)),
    }
}

/// Loss in percent with two decimals.
pub(crate) fn loss(lost: u64, sent: u64) -> String {
    if sent == 0 {
        return "none sent".to_owned();
    }
    let bps = (u128::from(lost) * 10_000 + u128::from(sent) / 2) / u128::from(sent);
    format!("{}.{:02} %", bps / 100, bps % 100)
}

/// Thousandths with one decimal.
pub(crate) fn thousandths(n: u64) -> String {
    format!("{}.{}", grouped(n / 1000), n % 1000 / 100)
}

/// `12,345`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(time(1_770_681_600_123), "2026-02-10 00:00:00 UTC");
        assert_eq!(time(u64::MAX), "9999-12-31 23:59:59 UTC");
        let durations = [duration(7), duration(12_345), duration(363_000), duration(7_260_000)];
        assert_eq!(durations, ["7 ms", "12.3 s", "6 min 03 s", "2 h 01 min"]);
        let shown = [36, 9_994, 9_995, 70_123, 202_999, 999_949, 999_950, 1_204_331].map(millis);
        assert_eq!(shown, ["0.04", "9.99", "10.0", "70.1", "203.0", "999.9", "1,000", "1,204"]);
        assert_eq!([loss(1, 3000), loss(0, 10), loss(0, 0)], ["0.03 %", "0.00 %", "none sent"]);
        assert_eq!([grouped(999), grouped(1000), grouped(1234567)], ["999", "1,000", "1,234,567"]);
    }
}
