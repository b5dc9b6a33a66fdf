//! Ranges of addresses as manifests carry them.

use std::str::FromStr;

use ipnet::{AddrParseError, IpNet};

/// Ranges separated by commas; the empty text is none, so that a manifest need not leave the option out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges(pub Vec<IpNet>);

impl FromStr for Ranges {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_no_range() {
        let ranges = |text: &str| text.parse::<Ranges>().map(|ranges| ranges.0.len());
        assert_eq!((ranges(""), ranges("10.244.0.0/16, fd00::/48")), (Ok(0), Ok(2)));
        assert!(ranges("10.244.0.0").is_err());
    }
}
