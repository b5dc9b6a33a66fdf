//! Cutting a Corefile into words.

use std::sync::Arc;

use super::{CorefileError, Fault, Position};

/// A word of a Corefile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) at: Position,
    /// Whether it is the first word of its line.
    pub(super) starts_line: bool,
}

/// The words of `text`: white space parts them, quotation marks keep them together, `#` starts a comment.
pub(super) fn tokens_of(file: &str, text: &str) -> Result<Vec<Token>, CorefileError> {
    let mut lexer = Lexer { rest: text.trim_start_matches('\u{feff}'), line: 1, file: file.into(), starts_line: true };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next_token()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer<'a> {
    rest: &'a str,
    line: u32,
    file: Arc<str>,
    starts_line: bool,
}

impl Lexer<'_> {
    fn next_token(&mut self) -> Result<Option<Token>, CorefileError> {
        self.skip_blank();
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (at, starts_line) = (self.position(), std::mem::replace(&mut self.starts_line, false));
        let text = match self.rest.strip_prefix('"') {
            Some(quoted) => self.quoted(quoted)?,
            None => self.plain(),
        };
        Ok(Some(Token { text, at, starts_line }))
    }

    /// Passes over white space and comments.
    fn skip_blank(&mut self) {
        while let Some(first) = self.rest.chars().next() {
            if first == '#' {
                self.rest = &self.rest[self.rest.find('\n').unwrap_or(self.rest.len())..];
                continue;
            }
            if !first.is_whitespace() {
                return;
            }
            if first == '\n' {
                self.line += 1;
                self.starts_line = true;
            }
            self.rest = &self.rest[first.len_utf8()..];
        }
    }

    fn plain(&mut self) -> String {
        let (word, rest) = self.rest.split_at(self.rest.find(char::is_whitespace).unwrap_or(self.rest.len()));
        self.rest = rest;
        word.to_owned()
    }

    /// Reads up to the closing mark. Only `\"` is special, so that regular expressions stay as they are.
    fn quoted(&mut self, text: &str) -> Result<String, CorefileError> {
        let (at, mut word, mut escaped) = (self.position(), String::new(), false);
        for (place, letter) in text.char_indices() {
            match letter {
                '"' if !escaped => {
                    self.rest = &self.rest[place + 2..];
                    return Ok(word);
                }
                '"' => {
                    word.pop();
                }
                '\n' => self.line += 1,
                _ => {}
            }
            escaped = letter == '\\' && !escaped;
            word.push(letter);
        }
        Err(CorefileError { at, subject: "quotation".into(), fault: Fault::Unclosed { mark: '"' } })
    }

    fn position(&self) -> Position {
        Position { file: Arc::clone(&self.file), line: self.line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<(u32, String)> {
        tokens_of("f", text).unwrap().into_iter().map(|token| (token.at.line, token.text)).collect()
    }

    fn expected(words: &[(u32, &str)]) -> Vec<(u32, String)> {
        words.iter().map(|&(line, word)| (line, word.to_owned())).collect()
    }

    #[test]
    fn words_know_their_lines_and_comments_are_passed_over() {
        assert_eq!(
            words("# first\n.:53 { # open\n  a#b\r\n}"),
            expected(&[(2, ".:53"), (2, "{"), (3, "a#b"), (4, "}")])
        );
    }

    #[test]
    fn quotation_marks_keep_words_together() {
        assert_eq!(words(r#"match "a b\"c\.d" x"#), expected(&[(1, "match"), (1, r#"a b"c\.d"#), (1, "x")]));
        assert_eq!(words("\"two\nlines\" next"), expected(&[(1, "two\nlines"), (2, "next")]));
        assert_eq!(words("\"\" x"), expected(&[(1, ""), (1, "x")]));
    }

    #[test]
    fn an_open_quotation_is_refused_where_it_begins() {
        let error = tokens_of("Corefile", ".\n\"open\n").unwrap_err();
        assert_eq!(error.to_string(), "Corefile:2: quotation: never closed: a \" is missing");
    }
}
