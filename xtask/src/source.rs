//! Rust source as the checks see it: tracked files, with comments and literals blanked and test modules known.

use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// One tracked Rust file.
#[derive(Debug)]
pub struct Source {
    /// Path from the root of the repository.
    pub path: PathBuf,
    /// The text with comments, strings and characters replaced by spaces; lines are kept.
    pub code: String,
    /// The spans of `#[cfg(test)]` modules in `code`.
    pub tests: Vec<Range<usize>>,
}

/// Every tracked Rust file of the repository.
pub fn tracked() -> Result<Vec<Source>> {
    let listed = Command::new("git").args(["ls-files", "*.rs"]).output().context("cannot run git ls-files")?;
    ensure!(listed.status.success(), "git ls-files failed");
    let names = String::from_utf8(listed.stdout)?;
    let existing = names.lines().map(PathBuf::from).filter(|path| path.is_file());
    existing
        .map(|path| {
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Source::new(path, &text))
        })
        .collect()
}

impl Source {
    /// The source of `text`.
    pub fn new(path: PathBuf, text: &str) -> Self {
        let code = blank(text);
        let tests = test_modules(&code);
        Self { path, code, tests }
    }

    /// Whether the file is nothing but tests.
    pub fn is_test_file(&self) -> bool {
        let test_folder = |part: &std::ffi::OsStr| part == "tests" || part == "benches" || part == "fuzz";
        let folders = self.path.parent().into_iter().flat_map(|parent| parent.iter());
        folders.into_iter().any(test_folder) || self.path.file_stem().is_some_and(|stem| stem == "tests")
    }

    /// Whether the position lies in a test module.
    pub fn in_tests(&self, position: usize) -> bool {
        self.is_test_file() || self.tests.iter().any(|span| span.contains(&position))
    }

    /// The line number of a position, from 1.
    pub fn line_of(&self, position: usize) -> usize {
        1 + self.code[..position].matches('\n').count()
    }

    /// Positions at which `word` stands as a word of its own, outside tests.
    pub fn words(&self, word: &str) -> Vec<usize> {
        let bytes = self.code.as_bytes();
        let part_of_word = |at: Option<&u8>| at.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        let alone = |at: &usize| {
            !part_of_word(at.checked_sub(1).and_then(|before| bytes.get(before)))
                && !part_of_word(bytes.get(at + word.len()))
        };
        let found = self.code.match_indices(word).map(|(at, _)| at);
        found.filter(alone).filter(|at| !self.in_tests(*at)).collect()
    }
}

/// The end of the block whose opening brace is at or after `start`, past its closing brace.
pub fn block_end(code: &str, start: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    code.len()
}

fn test_modules(code: &str) -> Vec<Range<usize>> {
    let marks = code.match_indices("#[cfg(test)]").map(|(at, mark)| at + mark.len());
    marks
        .filter_map(|after| {
            let rest = &code[after..];
            let opening = rest.find(['{', ';'])?;
            let is_module = rest[..opening].split_whitespace().any(|word| word == "mod");
            (is_module && rest[opening..].starts_with('{')).then(|| after..block_end(code, after))
        })
        .collect()
}

/// What a stretch of source is.
enum Stretch {
    Code,
    Blanked(usize),
}

/// Replaces comments, strings and characters by spaces, byte for byte; newlines stay.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match stretch(bytes, at) {
            Stretch::Code => {
                // Letters outside ASCII occur in code nowhere that matters here.
                out.push(if bytes[at].is_ascii() { bytes[at] } else { b' ' });
                at += 1;
            }
            Stretch::Blanked(end) => {
                let end = end.min(bytes.len());
                out.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
                at = end;
            }
        }
    }
    String::from_utf8(out).unwrap_or_default()
}

fn stretch(bytes: &[u8], at: usize) -> Stretch {
    let rest = &bytes[at..];
    let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if rest.starts_with(b"//") {
        return Stretch::Blanked(at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return Stretch::Blanked(block_comment_end(bytes, at));
    }
    if !word_before && let Some(end) = raw_string_end(bytes, at) {
        return Stretch::Blanked(end);
    }
    match rest[0] {
        b'"' => Stretch::Blanked(quoted_end(bytes, at)),
        b'\'' if is_character(rest) => Stretch::Blanked(quoted_end(bytes, at)),
        _ => Stretch::Code,
    }
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0usize, start);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if bytes[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut next = at + usize::from(bytes.get(at) == Some(&b'b'));
    (bytes.get(next) == Some(&b'r')).then_some(())?;
    next += 1;
    let hashes = bytes[next..].iter().take_while(|byte| **byte == b'#').count();
    (bytes.get(next + hashes) == Some(&b'"')).then_some(())?;
    let closing = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let body = next + hashes + 1;
    let found = bytes[body..].windows(closing.len()).position(|window| window == closing);
    Some(found.map_or(bytes.len(), |found| body + found + closing.len()))
}

fn quoted_end(bytes: &[u8], start: usize) -> usize {
    let quote = bytes[start];
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += 1 + usize::from(bytes[at] == b'\\');
    }
    at + 1
}

/// Whether a quote starts a character and not a lifetime.
fn is_character(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'\\') => true,
        Some(byte) if byte.is_ascii() => rest.get(2) == Some(&b'\''),
        Some(_) => rest[1..].iter().take(5).any(|byte| *byte == b'\''),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("crates/x/src/lib.rs".into(), text)
    }

    #[test]
    fn words_in_comments_and_literals_do_not_count() {
        let text =
            "// await\n/* await /* await */ await */ let a = \"await\"; let b = r#\"await\"#; let c = '\\''; x.await;";
        assert_eq!(source(text).words("await").len(), 1);
    }

    #[test]
    fn lifetimes_are_not_characters() {
        let text = "fn f<'a>(x: &'a str) -> &'a str { x.await }";
        assert_eq!(source(text).words("await").len(), 1);
    }

    #[test]
    fn words_in_test_modules_do_not_count() {
        let text = "fn f() {}\n#[cfg(test)]\nmod tests { fn g() { x.await } }\nfn h() { y.await }";
        let source = source(text);
        assert_eq!(source.words("await").iter().map(|at| source.line_of(*at)).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn a_word_within_a_word_does_not_count() {
        assert_eq!(source("awaiting await_ _await await").words("await").len(), 1);
    }
}
