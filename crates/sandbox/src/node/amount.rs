//! Amounts of resources, to be divided: `500m`, `64Mi`.

/// An amount in thousandths of its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    milli: u128,
}

const SUFFIXES: [(&str, u128); 14] = [
    ("Ki", 1000 << 10),
    ("Mi", 1000 << 20),
    ("Gi", 1000 << 30),
    ("Ti", 1000 << 40),
    ("Pi", 1000 << 50),
    ("Ei", 1000 << 60),
    ("m", 1),
    ("k", 1_000_000),
    ("M", 1_000_000_000),
    ("G", 1_000_000_000_000),
    ("T", 1_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000_000),
    ("", 1000),
];

impl Amount {
    /// So many whole units.
    pub fn of_units(units: u64) -> Self {
        Self { milli: u128::from(units) * 1000 }
    }

    /// Reads a quantity as the API stores it; what is smaller than a thousandth is rounded up.
    pub fn parse(text: &str) -> Option<Self> {
        let (text, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) if !exponent.is_empty() && exponent != "i" => (number, exponent.parse().ok()?),
            _ => (text, 0),
        };
        let (number, factor) =
            SUFFIXES.iter().find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|number| (number, *factor)))?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
        let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let factor = factor.checked_mul(10u128.checked_pow(exponent)?)?;
        Some(Self { milli: digits.checked_mul(factor)?.div_ceil(scale) })
    }

    /// How many times `divisor` fits, rounded up.
    pub fn divided_rounding_up(self, divisor: Self) -> u128 {
        self.milli.div_ceil(divisor.milli.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_and_fractions_are_understood() {
        let milli = |text: &str| Amount::parse(text).map(|amount| amount.milli);
        assert_eq!(milli("2"), Some(2000));
        assert_eq!(milli("250m"), Some(250));
        assert_eq!(milli("1.5"), Some(1500));
        assert_eq!(milli("1Ki"), Some(1_024_000));
        assert_eq!(milli("1k"), Some(1_000_000));
        assert_eq!((milli("1.5e3"), milli("2E"), milli("1Ei")), (milli("1500"), milli("2000P"), milli("1024Pi")));
        assert_eq!((milli("1e"), milli("1ek"), milli("1e99")), (None, None, None));
        assert_eq!((milli("x"), milli(""), milli("-1")), (None, None, None));
    }
}
