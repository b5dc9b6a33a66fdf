//! Domain names in wire form.

use std::fmt;

/// The longest name, root label included (RFC 1035 section 2.3.4).
pub(crate) const MAX_NAME: usize = 255;
/// The longest label.
const MAX_LABEL: usize = 63;
/// The most labels a name can have: 127 of one letter.
const MAX_LABELS: usize = MAX_NAME / 2;

/// A domain name that is part of the zone's data: wire form, lower case, root label included.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomainName(Box<[u8]>);

/// Why a text is not a domain name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainNameError {
    /// Two dots in a row, or a leading dot.
    #[error("domain name {name:?} has an empty label")]
    EmptyLabel {
        /// The text.
        name: String,
    },
    /// A label over 63 octets.
    #[error("domain name {name:?} has a label longer than 63 octets")]
    LongLabel {
        /// The text.
        name: String,
    },
    /// A name over 255 octets.
    #[error("domain name {name:?} is longer than 255 octets")]
    LongName {
        /// The text.
        name: String,
    },
}

impl DomainName {
    /// Reads a name such as `cluster.local` or `cluster.local.`; an empty text or `.` is the root.
    pub fn parse(text: &str) -> Result<Self, DomainNameError> {
        let labels = text.strip_suffix('.').unwrap_or(text);
        if labels.is_empty() {
            return Ok(Self::root());
        }
        let mut wire = Vec::with_capacity(labels.len() + 2);
        for label in labels.split('.') {
            match label.len() {
                0 => return Err(DomainNameError::EmptyLabel { name: text.into() }),
                len if len > MAX_LABEL => return Err(DomainNameError::LongLabel { name: text.into() }),
                len => wire.push(len as u8),
            }
            wire.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        wire.push(0);
        if wire.len() > MAX_NAME {
            return Err(DomainNameError::LongName { name: text.into() });
        }
        Ok(Self(wire.into()))
    }

    /// The root: no labels.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// This name with `label` in front.
    pub fn child(&self, label: &str) -> Result<Self, DomainNameError> {
        if self.0.len() == 1 { Self::parse(label) } else { Self::parse(&format!("{label}.{self}")) }
    }

    /// The wire form, root label included.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// How many labels it has, the root not counted.
    pub fn label_count(&self) -> usize {
        labels(&self.0).count()
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for label in labels(&self.0) {
            write!(f, "{separator}{}", label.escape_ascii())?;
            separator = ".";
        }
        Ok(())
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}.\"")
    }
}

/// The labels of an uncompressed name in wire form.
fn labels(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        let (&len, tail) = rest.split_first()?;
        if len == 0 {
            return None;
        }
        let (label, tail) = tail.split_at_checked(usize::from(len))?;
        rest = tail;
        Some(label)
    })
}

/// The name a query asks for, in lower case and cut into labels; lives on the stack.
#[derive(Clone)]
pub struct QueryName {
    bytes: [u8; MAX_NAME],
    len: usize,
    /// Where each label's length octet stands, the leftmost label first.
    starts: [u8; MAX_LABELS],
    count: usize,
}

impl QueryName {
    /// Reads the uncompressed name at the start of `wire`; nothing when it is not one.
    ///
    /// A compression pointer is refused: the first name of a message has nothing to point to.
    pub fn read(wire: &[u8]) -> Option<Self> {
        let mut name = Self { bytes: [0; MAX_NAME], len: 0, starts: [0; MAX_LABELS], count: 0 };
        loop {
            let len = usize::from(*wire.get(name.len)?);
            let label = wire.get(name.len..=name.len + len)?;
            let end = name.len + label.len();
            if len > MAX_LABEL || end > MAX_NAME {
                return None;
            }
            name.bytes[name.len..end].copy_from_slice(label);
            name.bytes[name.len + 1..end].make_ascii_lowercase();
            if len == 0 {
                name.len = end;
                return Some(name);
            }
            name.starts[name.count] = name.len as u8;
            name.count += 1;
            name.len = end;
        }
    }

    /// The lower-case wire form, root label included.
    pub fn as_wire(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// How many labels it has, the root not counted.
    pub fn label_count(&self) -> usize {
        self.count
    }

    /// The label at `index`, counted from the left; empty beyond the last.
    pub fn label(&self, index: usize) -> &[u8] {
        let Some(start) = self.starts[..self.count].get(index).map(|&start| usize::from(start)) else {
            return &[];
        };
        let len = usize::from(self.bytes[start]);
        &self.bytes[start + 1..start + 1 + len]
    }

    /// Where the last `labels` labels start within the name, in octets.
    pub fn suffix_offset(&self, labels: usize) -> usize {
        match self.count.checked_sub(labels) {
            Some(index) if index < self.count => usize::from(self.starts[index]),
            Some(_) => self.len - 1,
            None => 0,
        }
    }

    /// How many labels stand in front of `origin`, or nothing when the name is not at or under it.
    pub fn labels_under(&self, origin: &DomainName) -> Option<usize> {
        let under = self.count.checked_sub(origin.label_count())?;
        let suffix = &self.as_wire()[self.suffix_offset(origin.label_count())..];
        (suffix == origin.as_wire()).then_some(under)
    }
}

impl From<&DomainName> for QueryName {
    fn from(name: &DomainName) -> Self {
        let root = Self { bytes: [0; MAX_NAME], len: 1, starts: [0; MAX_LABELS], count: 0 };
        Self::read(name.as_wire()).unwrap_or(root)
    }
}

impl fmt::Debug for QueryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", DomainName(self.as_wire().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_wire_agree() {
        let name = DomainName::parse("Kube-DNS.kube-system.svc.cluster.local.").unwrap();
        assert_eq!(name.as_wire(), b"\x08kube-dns\x0bkube-system\x03svc\x07cluster\x05local\0");
        assert_eq!(name.to_string(), "kube-dns.kube-system.svc.cluster.local");
        assert_eq!(name.label_count(), 5);
    }

    #[test]
    fn impossible_names_are_refused_with_the_reason() {
        assert!(matches!(DomainName::parse("a..b"), Err(DomainNameError::EmptyLabel { .. })));
        assert!(matches!(DomainName::parse(&"a".repeat(64)), Err(DomainNameError::LongLabel { .. })));
        assert!(matches!(DomainName::parse(&"abc.".repeat(70)), Err(DomainNameError::LongName { .. })));
    }

    #[test]
    fn a_child_of_the_root_is_a_single_label() {
        assert_eq!(DomainName::root().child("local").unwrap(), DomainName::parse("local").unwrap());
    }

    #[test]
    fn a_query_name_is_lowered_and_cut_into_labels() {
        let name = QueryName::read(b"\x04CaRt\x04Shop\0rest").unwrap();
        assert_eq!(name.as_wire(), b"\x04cart\x04shop\0");
        assert_eq!((name.label(0), name.label(1), name.label(2)), (&b"cart"[..], &b"shop"[..], &b""[..]));
        assert_eq!((name.suffix_offset(2), name.suffix_offset(1), name.suffix_offset(0)), (0, 5, 10));
    }

    #[test]
    fn pointers_and_cut_names_are_not_query_names() {
        assert!(QueryName::read(b"\xc0\x0c").is_none());
        assert!(QueryName::read(b"\x04car").is_none());
        assert!(QueryName::read(b"\x04cart").is_none());
        assert!(QueryName::read(&b"\x01a".repeat(200)).is_none());
    }

    #[test]
    fn a_suffix_matches_whole_labels_only() {
        let origin = DomainName::parse("cluster.local").unwrap();
        let under = |text: &str| QueryName::from(&DomainName::parse(text).unwrap()).labels_under(&origin);
        assert_eq!(under("cluster.local"), Some(0));
        assert_eq!(under("a.b.cluster.local"), Some(2));
        assert_eq!(under("mycluster.local"), None);
        assert_eq!(under("local"), None);
        assert_eq!(under("."), None);
    }

    #[test]
    fn the_longest_name_fits() {
        let name = DomainName::parse(&["a"; 127].join(".")).unwrap();
        let query = QueryName::from(&name);
        assert_eq!((query.label_count(), query.as_wire().len()), (127, 255));
    }
}
