//! Kubernetes quantities as an API server writes them. In any other spelling what was asked for would look like drift, and be written again
//! at every look.

const DECIMAL: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// More digits than anybody needs, and few enough for what is reckoned with.
const DIGITS: usize = 15;

/// The canonical spelling of a quantity. None: it is none, or a finer one than thousandths.
pub(super) fn canonical(text: &str) -> Option<String> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.len() > DIGITS {
        return None;
    }
    // As text such as "" and ".": they have no digits, and do not parse.
    let digits: u128 = digits.parse().ok()?;
    let (unit, is_binary) = match (suffix, position(&BINARY, suffix), position(&DECIMAL, suffix)) {
        ("m", ..) => (1, false),
        (_, Some(power @ 1..), _) => (1000 * 1024_u128.pow(power), true),
        (_, _, power) => (1000_u128.pow(power? + 1), false),
    };
    let parts = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let thousandths = digits * unit;
    if !thousandths.is_multiple_of(parts) {
        return None;
    }
    let thousandths = thousandths / parts;
    if !thousandths.is_multiple_of(1000) {
        return Some(format!("{thousandths}m"));
    }
    let value = thousandths / 1000;
    let (step, suffixes) = if is_binary && value >= 1024 { (1024, BINARY) } else { (1000, DECIMAL) };
    Some(short(value, step, suffixes))
}

fn position(suffixes: &[&str], suffix: &str) -> Option<u32> {
    suffixes.iter().position(|known| *known == suffix)?.try_into().ok()
}

fn short(mut value: u128, step: u128, suffixes: [&str; 7]) -> String {
    let mut suffixes = suffixes.into_iter().peekable();
    while value != 0
        && value.is_multiple_of(step)
        && suffixes.next_if(|suffix| *suffix != "E" && *suffix != "Ei").is_some()
    {
        value /= step;
    }
    format!("{value}{}", suffixes.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_spelt_as_the_api_server_does() {
        for (given, stored) in [
            ("20", "20"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("4000000000", "4G"),
            ("0", "0"),
            ("0.0", "0"),
            ("10m", "10m"),
            ("1000m", "1"),
            ("2000000m", "2k"),
            ("0.5", "500m"),
            ("1.", "1"),
            (".5", "500m"),
            ("1.5", "1500m"),
            ("1.50k", "1500"),
            ("256Mi", "256Mi"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1024Ei", "1024Ei"),
            ("1000E", "1000E"),
            ("1048576", "1048576"),
        ] {
            assert_eq!(canonical(given).as_deref(), Some(stored), "{given}");
        }
    }

    #[test]
    fn what_is_none_is_none() {
        for bad in [
            "",
            ".",
            "m",
            "-1",
            "+1",
            "1 Gi",
            "1gi",
            "1K",
            "1e3",
            "1..2",
            "1.2.3",
            "0.0001",
            "9999999999999999",
            "ä",
        ] {
            assert_eq!(canonical(bad), None, "{bad}");
        }
    }
}
