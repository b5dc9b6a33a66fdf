//! What people who list the table read beside an element.

use std::fmt;

use model::Name;

/// The most bytes of a comment that nft reads (`NFTNL_UDATA_COMMENT_MAXLEN`, without the zero byte it ends with).
const LENGTH_MAX: usize = 127;
/// In the place of what is cut off.
const ELLIPSIS: &str = "...";

/// The object behind an element, as the kernel keeps it for people: it does not look at it.
///
/// It is put together as it is printed, so that the elements of a Service share one name and each has its pod's beside it:
/// a large cluster has hundreds of thousands of them. Two are equal when they read the same.
#[derive(Clone, Debug)]
pub struct Note {
    object: Name,
    part: Option<Name>,
}

impl Note {
    /// The object.
    pub const fn new(object: Name) -> Self {
        Self { object, part: None }
    }

    /// The object, and which part of it.
    pub const fn of_part(object: Name, part: Name) -> Self {
        Self { object, part: Some(part) }
    }

    /// The first of several objects by name, and how many more there are; none of none.
    pub fn of_several<'a>(objects: impl IntoIterator<Item = &'a Name>) -> Option<Self> {
        several(objects).map(Self::new)
    }

    fn pieces(&self) -> impl Iterator<Item = &str> {
        let part = self.part.iter().flat_map(|part| [" ", part.as_str()]);
        [self.object.as_str()].into_iter().chain(part)
    }
}

/// The first of several names, and how many more there are; none of none.
pub(crate) fn several<'a>(names: impl IntoIterator<Item = &'a Name>) -> Option<Name> {
    let mut names: Vec<&Name> = names.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    match &*names {
        [] => None,
        [only] => Some((*only).clone()),
        [first, more @ ..] => Some(format!("{first} and {} more", more.len()).into()),
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_short = self.pieces().map(str::len).sum::<usize>() <= LENGTH_MAX;
        if is_short && self.pieces().all(|piece| piece.chars().all(is_plain)) {
            return self.pieces().try_for_each(|piece| f.write_str(piece));
        }
        let plain = |letter| if is_plain(letter) { letter } else { '?' };
        let text: String = self.pieces().flat_map(str::chars).map(plain).collect();
        // What is not plain was: every byte is a letter now.
        match text.get(..LENGTH_MAX - ELLIPSIS.len()) {
            Some(begin) if text.len() > LENGTH_MAX => write!(f, "{begin}{ELLIPSIS}"),
            _ => f.write_str(&text),
        }
    }
}

/// Whether a letter is one of names and of what stands between them. nft prints comments as they are: a quotation mark in
/// one would end it for whoever reads the listing back, and the API server lets anybody write any text as the pod behind an
/// endpoint.
const fn is_plain(letter: char) -> bool {
    matches!(letter, ' '..='~') && !matches!(letter, '"' | '\\')
}

impl PartialEq for Note {
    fn eq(&self, other: &Self) -> bool {
        (&self.object, &self.part) == (&other.object, &other.part) || self.to_string() == other.to_string()
    }
}

impl Eq for Note {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_stands_behind_its_object_and_reads_as_the_same_text_would() {
        let note = Note::of_part("shop/web:http".into(), "web-0".into());
        assert_eq!(note.to_string(), "shop/web:http web-0");
        assert_eq!(note, Note::new("shop/web:http web-0".into()));
        assert_ne!(note, Note::of_part("shop/web:http".into(), "web-1".into()));
    }

    #[test]
    fn of_several_the_first_by_name_is_told_and_how_many_more() {
        let names = ["b", "a", "c", "a"].map(Name::from);
        assert_eq!(Note::of_several(&names), Some(Note::new("a and 2 more".into())));
        assert_eq!(Note::of_several(&names[..1]), Some(Note::new("b".into())));
        assert_eq!(Note::of_several([]), None);
    }

    #[test]
    fn what_nft_would_not_read_is_cut_off() {
        let (fits, long) = ("a".repeat(LENGTH_MAX), "a".repeat(LENGTH_MAX + 1));
        assert_eq!(Note::new(fits.as_str().into()).to_string(), fits);
        let cut = Note::new(long.as_str().into()).to_string();
        assert_eq!(cut, format!("{}...", "a".repeat(LENGTH_MAX - 3)));
        assert_eq!(Note::of_part("a".repeat(120).into(), "b".repeat(20).into()).to_string().len(), LENGTH_MAX);
        assert_eq!(Note::new("ä".repeat(LENGTH_MAX).into()).to_string().len(), LENGTH_MAX);
    }

    #[test]
    fn nothing_in_it_ends_the_comment() {
        let note = Note::of_part("shop/web".into(), "x\" }\n; \\ \u{e4}".into());
        assert_eq!(note.to_string(), "shop/web x? }?; ? ?");
    }
}
