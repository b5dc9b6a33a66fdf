//! Amounts of resources: `500m`, `1Gi`, `1e3`.
//!
//! The format and its canonical form are described with the type `Quantity` of the Kubernetes API.

use std::fmt;

/// An amount, exact to a billionth; what is smaller is rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// The family of suffixes an amount was written with, and is written with again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Powers of 1000: `k`, `M`.
    Decimal,
    /// Powers of 1024: `Ki`, `Mi`.
    Binary,
    /// Powers of ten: `e3`.
    Exponent,
}

const NANOS_PER_ONE: i128 = 1_000_000_000;
const DECIMAL_SUFFIXES: [(&str, i32); 10] =
    [("E", 18), ("P", 15), ("T", 12), ("G", 9), ("M", 6), ("k", 3), ("", 0), ("m", -3), ("u", -6), ("n", -9)];
const BINARY_SUFFIXES: [(&str, u32); 6] = [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];

impl Quantity {
    /// Reads an amount; nothing when the text is malformed or the amount is beyond all use.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let scale = 9 - i32::try_from(fraction.len()).ok()?;
        let (nanos, format) = match suffix_of(suffix)? {
            Suffix::Decimal(power) => (scaled(digits, power + scale)?, Format::Decimal),
            Suffix::Exponent(power) => (scaled(digits, power.checked_add(scale)?)?, Format::Exponent),
            Suffix::Binary(bits) => (scaled(digits.checked_mul(1 << bits)?, scale)?, Format::Binary),
        };
        Some(Self { nanos: if negative { -nanos } else { nanos }, format })
    }

    /// The amount in billionths of its unit.
    pub fn billionths(self) -> i128 {
        self.nanos
    }
}

impl fmt::Display for Quantity {
    /// The canonical form: the largest suffix that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let small = self.nanos.abs() < 1024 * NANOS_PER_ONE;
        if self.format == Format::Binary && !small {
            let ones = self.nanos.div_euclid(NANOS_PER_ONE) + i128::from(self.nanos.rem_euclid(NANOS_PER_ONE) != 0);
            let fitting = BINARY_SUFFIXES.into_iter().find(|(_, bits)| ones % (1 << bits) == 0);
            let (suffix, bits) = fitting.unwrap_or(("", 0));
            return write!(f, "{}{suffix}", ones >> bits);
        }
        let fits = |power: i32| {
            u32::try_from(power + 9).ok().map(|zeros| 10_i128.pow(zeros)).filter(|unit| self.nanos % unit == 0)
        };
        let fitting = DECIMAL_SUFFIXES.into_iter().find_map(|(suffix, power)| Some((suffix, power, fits(power)?)));
        match fitting {
            _ if self.nanos == 0 => f.write_str("0"),
            Some((_, power, unit)) if self.format == Format::Exponent && power != 0 => {
                write!(f, "{}e{power}", self.nanos / unit)
            }
            Some((suffix, _, unit)) => write!(f, "{}{suffix}", self.nanos / unit),
            None => write!(f, "{}n", self.nanos),
        }
    }
}

enum Suffix {
    Decimal(i32),
    Binary(u32),
    Exponent(i32),
}

fn suffix_of(suffix: &str) -> Option<Suffix> {
    if let Some((_, power)) = DECIMAL_SUFFIXES.iter().find(|(name, _)| *name == suffix) {
        return Some(Suffix::Decimal(*power));
    }
    if let Some((_, bits)) = BINARY_SUFFIXES.iter().find(|(name, _)| *name == suffix) {
        return Some(Suffix::Binary(*bits));
    }
    suffix.strip_prefix(['e', 'E'])?.parse().ok().map(Suffix::Exponent)
}

/// `digits` times ten to the power, rounded up.
fn scaled(digits: i128, power: i32) -> Option<i128> {
    let factor = 10_i128.checked_pow(power.unsigned_abs());
    match (factor, power >= 0) {
        (Some(factor), true) => digits.checked_mul(factor),
        (Some(factor), false) => Some(digits / factor + i128::from(digits % factor != 0)),
        (None, true) => (digits == 0).then_some(0),
        (None, false) => Some(i128::from(digits != 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_kubernetes_writes_them() {
        let cases = [
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("0", "0"),
            ("0Mi", "0"),
            ("1Gi", "1Gi"),
            ("1024Mi", "1Gi"),
            ("0.5Gi", "512Mi"),
            ("100Ki", "100Ki"),
            ("1000Ki", "1000Ki"),
            ("1.5Ki", "1536"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("12e2", "1200"),
            ("1E", "1E"),
            ("-2", "-2"),
            ("+3", "3"),
            (".1", "100m"),
            ("1.", "1"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("512", "512"),
            ("1u", "1u"),
        ];
        for (given, canonical) in cases {
            assert_eq!(Quantity::parse(given).unwrap().to_string(), canonical, "{given}");
        }
    }

    #[test]
    fn what_is_no_amount_is_nothing() {
        for text in ["", "m", "1gb", "1e", "1.2.3", "--1", "1 Gi", "e3", "1K"] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }

    #[test]
    fn absurd_amounts_do_not_overflow() {
        for text in
            ["1e999999999", "99999999999999999999999999999999999999999", "1e2147483647", "99999999999999999999Ei"]
        {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
        assert_eq!(Quantity::parse("1e-2147483647").unwrap().to_string(), "1e-9");
    }
}
