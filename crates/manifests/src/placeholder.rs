//! `${SETTING}` in text.

/// A stretch of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Text as it is.
    Plain(&'a str),
    /// The setting of this name.
    Setting(&'a str),
}

/// The text in pieces, none of them empty.
pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((before, name, after)) = split_first(rest) {
        if !before.is_empty() {
            found.push(Piece::Plain(before));
        }
        found.push(Piece::Setting(name));
        rest = after;
    }
    if !rest.is_empty() {
        found.push(Piece::Plain(rest));
    }
    found
}

fn split_first(text: &str) -> Option<(&str, &str, &str)> {
    let (before, opened) = text.split_once("${")?;
    let (name, after) = opened.split_once('}')?;
    Some((before, name, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_falls_into_pieces() {
        let expected = [Piece::Setting("a"), Piece::Plain(":"), Piece::Setting("b.c"), Piece::Plain("\n")];
        assert_eq!(pieces("${a}:${b.c}\n"), expected);
        assert_eq!(pieces("$(NOT) one"), [Piece::Plain("$(NOT) one")]);
        assert_eq!(pieces(""), []);
    }
}
