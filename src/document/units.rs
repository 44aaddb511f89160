//! Durations and sizes as people write them: `250ms`, `30s`, `10m`, `24h`; `512B`, `64KiB`, `50MiB`, `1GiB`.

use std::time::Duration;

const DURATIONS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Units that are often written, and the one that is meant.
const SLIPS: [(&str, &str); 20] = [
    ("", "s"),
    ("", "B"),
    ("millis", "ms"),
    ("milliseconds", "ms"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hour", "h"),
    ("hours", "h"),
    ("k", "KiB"),
    ("kb", "KiB"),
    ("m", "MiB"),
    ("mb", "MiB"),
    ("g", "GiB"),
    ("gb", "GiB"),
];

/// Why a text is no amount.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoAmount {
    /// Not understood at all.
    Nonsense,
    /// Not written as it should be, but this is what was meant.
    Meant(String),
    TooLarge,
}

pub(super) fn duration(text: &str) -> Result<Duration, NoAmount> {
    amount(text, &DURATIONS).map(Duration::from_millis)
}

pub(super) fn size(text: &str) -> Result<u64, NoAmount> {
    amount(text, &SIZES)
}

fn amount(text: &str, units: &[(&str, u64)]) -> Result<u64, NoAmount> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(NoAmount::Nonsense);
    }
    let number: u64 = number.parse().map_err(|_| NoAmount::TooLarge)?;
    match units.iter().find(|(known, _)| *known == unit) {
        Some((_, factor)) => number.checked_mul(*factor).ok_or(NoAmount::TooLarge),
        None => Err(meant(number, unit, units)),
    }
}

fn meant(number: u64, unit: &str, units: &[(&str, u64)]) -> NoAmount {
    let unit = unit.trim();
    let known =
        |name: &str| units.iter().map(|(known, _)| *known).find(|known| known.eq_ignore_ascii_case(name));
    let slip = || {
        let meant = SLIPS.iter().filter(|(slip, _)| slip.eq_ignore_ascii_case(unit));
        meant.filter_map(|(_, meant)| known(meant)).next()
    };
    match known(unit).or_else(slip) {
        Some(unit) => NoAmount::Meant(format!("{number}{unit}")),
        None => NoAmount::Nonsense,
    }
}

pub(super) fn show_duration(duration: Duration) -> String {
    show(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &DURATIONS, "0s")
}

pub(super) fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES, "0B")
}

/// In the largest unit that needs no fraction.
fn show(amount: u64, units: &[(&str, u64)], zero: &str) -> String {
    let fitting = units.iter().find(|(_, factor)| amount.is_multiple_of(*factor));
    match fitting {
        Some((unit, factor)) if amount > 0 => format!("{}{unit}", amount / factor),
        Some(_) | None => zero.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_whole_numbers_with_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("0B"), Ok(0));
    }

    #[test]
    fn what_was_meant_is_told_when_it_can_be_known() {
        let meant = |text: &str| Err(NoAmount::Meant(text.to_owned()));
        assert_eq!(duration("2min"), meant("2m").map(Duration::from_millis));
        assert_eq!(duration("5 s"), meant("5s").map(Duration::from_millis));
        assert_eq!(duration("30S"), meant("30s").map(Duration::from_millis));
        assert_eq!(size("50MB"), meant("50MiB"));
        assert_eq!(size("50mib"), meant("50MiB"));
        assert_eq!(duration("10"), meant("10s").map(Duration::from_millis));
        assert_eq!(size("10"), meant("10B"));
        assert_eq!(duration("1.5h"), Err(NoAmount::Nonsense));
        assert_eq!(duration("-1s"), Err(NoAmount::Nonsense));
        assert_eq!(duration("soon"), Err(NoAmount::Nonsense));
        assert_eq!(duration("99999999999999999999s"), Err(NoAmount::TooLarge));
        assert_eq!(duration("9999999999999999999h"), Err(NoAmount::TooLarge));
    }

    #[test]
    fn amounts_are_shown_in_the_largest_fitting_unit() {
        assert_eq!(show_duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(show_duration(Duration::from_secs(120)), "2m");
        assert_eq!(show_duration(Duration::ZERO), "0s");
        assert_eq!(show_size(50 << 20), "50MiB");
        assert_eq!(show_size(1000), "1000B");
    }
}
