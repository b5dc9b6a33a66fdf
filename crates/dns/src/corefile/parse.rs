//! From words to server blocks.

use std::collections::HashMap;
use std::collections::VecDeque;

use super::token::{Token, tokens_of};
use super::{CorefileError, Directive, Fault, Position, RawBlock, RawCorefile, Surroundings};

/// How many imports a Corefile may have; more are taken for a circle.
const MAX_IMPORTS: usize = 1000;
/// How many blocks may stand within each other: more than any directive has a meaning for, fewer than the stack has room.
const MAX_DEPTH: usize = 16;

impl RawCorefile {
    /// Takes apart the Corefile called `file`.
    pub fn parse(file: &str, text: &str, surroundings: &dyn Surroundings) -> Result<Self, CorefileError> {
        let words = tokens_of(file, text)?.into();
        let mut parser =
            Parser { words, surroundings, snippets: HashMap::new(), imports: 0, depth: 0, last: start_of(file) };
        let mut blocks = Vec::new();
        while parser.peek().is_some() {
            blocks.extend(parser.block()?);
        }
        if blocks.is_empty() {
            return Err(CorefileError { at: start_of(file), subject: "Corefile".into(), fault: Fault::Empty });
        }
        Ok(Self { blocks })
    }
}

fn start_of(file: &str) -> Position {
    Position { file: file.into(), line: 1 }
}

struct Parser<'a> {
    words: VecDeque<Token>,
    surroundings: &'a dyn Surroundings,
    snippets: HashMap<String, Vec<Token>>,
    imports: usize,
    /// How many blocks are open.
    depth: usize,
    /// Where the last word was, for what is missing at the end.
    last: Position,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.words.front()
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.words.pop_front()?;
        self.last = token.at.clone();
        Some(token)
    }

    fn at_end(&self, subject: &str, fault: Fault) -> CorefileError {
        CorefileError { at: self.last.clone(), subject: subject.into(), fault }
    }

    /// The next server block; nothing when it is an import of nothing, or a snippet.
    fn block(&mut self) -> Result<Option<RawBlock>, CorefileError> {
        if self.import_here()? {
            return Ok(None);
        }
        let at = self.peek().map_or_else(|| self.last.clone(), |token| token.at.clone());
        let keys = self.keys()?;
        if let [key] = &*keys
            && let Some(name) = key.strip_prefix('(').and_then(|key| key.strip_suffix(')'))
        {
            let body = self.braced_words(key)?;
            self.snippets.insert(name.to_owned(), body);
            return Ok(None);
        }
        let braces = self.peek().is_some_and(|token| token.text == "{");
        if braces {
            self.next();
        }
        let directives = self.directives(&keys[0], braces)?;
        Ok(Some(RawBlock { keys, at, directives }))
    }

    /// The zones in front of a block; one that ends in a comma goes on in the next line.
    fn keys(&mut self) -> Result<Vec<String>, CorefileError> {
        let (mut keys, mut goes_on) = (Vec::new(), true);
        while let Some(token) = self.peek() {
            if token.text == "{" || (token.starts_line && !goes_on) {
                break;
            }
            let Some(token) = self.next() else { break };
            if token.text == "}" {
                let fault = Fault::Expected { expected: "a zone: this brace closes nothing" };
                return Err(CorefileError { at: token.at, subject: "}".into(), fault });
            }
            let word = self.filled(&token.text);
            goes_on = word.ends_with(',');
            keys.extend(word.split(',').filter(|key| !key.is_empty()).map(str::to_owned));
        }
        if keys.is_empty() || goes_on {
            return Err(self.at_end("server block", Fault::Expected { expected: "a zone such as .:53 in front of it" }));
        }
        Ok(keys)
    }

    /// The directives of a block: up to its brace, or without braces up to the end.
    fn directives(&mut self, subject: &str, braces: bool) -> Result<Vec<Directive>, CorefileError> {
        let opened = self.last.clone();
        let mut directives = Vec::new();
        loop {
            if self.import_here()? {
                continue;
            }
            match self.peek() {
                None if !braces => return Ok(directives),
                None => {
                    let fault = Fault::Unclosed { mark: '}' };
                    return Err(CorefileError { at: opened, subject: subject.into(), fault });
                }
                Some(token) if token.text == "}" && braces => {
                    self.next();
                    return Ok(directives);
                }
                Some(_) => directives.push(self.directive()?),
            }
        }
    }

    fn directive(&mut self) -> Result<Directive, CorefileError> {
        let Some(first) = self.next() else {
            return Err(self.at_end("directive", Fault::Expected { expected: "its name" }));
        };
        if first.text == "{" || first.text == "}" {
            let fault = Fault::Expected { expected: "a directive in front of this brace" };
            return Err(CorefileError { at: first.at, subject: first.text, fault });
        }
        let mut directive =
            Directive { name: self.filled(&first.text), arguments: Vec::new(), at: first.at, body: Vec::new() };
        while let Some(token) = self.peek().filter(|token| !token.starts_line && token.text != "}") {
            let opens =
                token.text == "{" && self.words.get(1).is_none_or(|after| after.starts_line || after.text == "}");
            let Some(token) = self.next() else { break };
            if opens {
                directive.body = self.body(&directive.name)?;
                break;
            }
            directive.arguments.push(self.filled(&token.text));
        }
        Ok(directive)
    }

    /// The block of a directive.
    fn body(&mut self, subject: &str) -> Result<Vec<Directive>, CorefileError> {
        if self.depth == MAX_DEPTH {
            return Err(self.at_end(subject, Fault::TooDeep { limit: MAX_DEPTH }));
        }
        self.depth += 1;
        let body = self.directives(subject, true)?;
        self.depth -= 1;
        Ok(body)
    }

    /// Replaces an `import` at this place by what it names; says whether there was one.
    fn import_here(&mut self) -> Result<bool, CorefileError> {
        if self.peek().is_none_or(|token| token.text != "import" || !token.starts_line) {
            return Ok(false);
        }
        let Some(word) = self.next() else { return Ok(false) };
        let refused = |fault| CorefileError { at: word.at.clone(), subject: "import".into(), fault };
        let named = self.words.pop_front_if(|token| !token.starts_line && token.text != "}");
        let Some(pattern) = named.map(|token| self.filled(&token.text)) else {
            return Err(refused(Fault::Expected { expected: "a file, a pattern or a snippet behind it" }));
        };
        self.imports += 1;
        if self.imports > MAX_IMPORTS {
            return Err(refused(Fault::ImportLoop { limit: MAX_IMPORTS }));
        }
        let mut imported = Vec::new();
        if let Some(snippet) = self.snippets.get(&pattern) {
            imported.clone_from(snippet);
        } else {
            let files = self.surroundings.import(&pattern, &word.at.file);
            for (file, text) in files.map_err(|why| refused(Fault::Import { why }))? {
                imported.extend(tokens_of(&file, &text)?);
            }
        }
        for token in imported.into_iter().rev() {
            self.words.push_front(token);
        }
        Ok(true)
    }

    /// The words between the braces that open here, as they stand.
    fn braced_words(&mut self, subject: &str) -> Result<Vec<Token>, CorefileError> {
        if self.next().is_none_or(|token| token.text != "{") {
            return Err(
                self.at_end(subject, Fault::Expected { expected: "a block in braces behind the snippet's name" })
            );
        }
        let (mut depth, mut words) = (1, Vec::new());
        while let Some(token) = self.next() {
            match &*token.text {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(words);
            }
            words.push(token);
        }
        Err(self.at_end(subject, Fault::Unclosed { mark: '}' }))
    }

    /// The word with `{$NAME}` and `{%NAME%}` replaced by variables; one that is not set is empty.
    fn filled(&self, word: &str) -> String {
        let with_dollar = self.filled_between(word, "{$", "}");
        self.filled_between(&with_dollar, "{%", "%}")
    }

    fn filled_between(&self, word: &str, open: &str, close: &str) -> String {
        let (mut filled, mut rest) = (String::new(), word);
        while let Some((before, name, after)) = rest
            .split_once(open)
            .and_then(|(before, tail)| tail.split_once(close).map(|(name, after)| (before, name, after)))
        {
            filled.push_str(before);
            filled.push_str(&self.surroundings.variable(name).unwrap_or_default());
            rest = after;
        }
        filled + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files(&'static [(&'static str, &'static str)]);

    impl Surroundings for Files {
        fn variable(&self, name: &str) -> Option<String> {
            (name == "PORT").then(|| "5353".into())
        }

        fn import(&self, pattern: &str, _from: &str) -> Result<Vec<(String, String)>, String> {
            let matching = |&(name, text): &(&str, &str)| {
                let fits = match pattern.split_once('*') {
                    Some((before, after)) => name.starts_with(before) && name.ends_with(after),
                    None => name == pattern,
                };
                fits.then(|| (name.to_owned(), text.to_owned()))
            };
            let found: Vec<_> = self.0.iter().filter_map(matching).collect();
            if found.is_empty() && !pattern.contains('*') { Err("no such file".into()) } else { Ok(found) }
        }

        fn read(&self, _path: &str) -> Result<String, String> {
            Err("not here".into())
        }
    }

    /// The blocks as lines: the zones, then every directive indented.
    fn outline(files: &'static [(&'static str, &'static str)], text: &str) -> Result<String, String> {
        let corefile = RawCorefile::parse("Corefile", text, &Files(files)).map_err(|error| error.to_string())?;
        let mut lines = Vec::new();
        for block in &corefile.blocks {
            lines.push(block.keys.join(" "));
            outline_of(&block.directives, 1, &mut lines);
        }
        Ok(lines.join("\n"))
    }

    fn outline_of(directives: &[Directive], depth: usize, lines: &mut Vec<String>) {
        for directive in directives {
            let words: Vec<_> =
                std::iter::once(&directive.name).chain(&directive.arguments).map(String::as_str).collect();
            lines.push(format!("{}{}", " ".repeat(depth), words.join(" ")));
            outline_of(&directive.body, depth + 1, lines);
        }
    }

    #[test]
    fn blocks_have_zones_directives_and_blocks_of_their_own() {
        let text = ".:53 {\n errors\n health {\n  lameduck 5s\n }\n}\n\
                    a.org, b.org:{$PORT} {\n forward . {%PORT%} x{$NONE}y\n}\n";
        assert_eq!(
            outline(&[], text).unwrap(),
            ".:53\n errors\n health\n  lameduck 5s\na.org b.org:5353\n forward . 5353 xy"
        );
    }

    #[test]
    fn a_file_without_braces_is_one_block() {
        assert_eq!(outline(&[], ".:53\nerrors\nforward . 1.1.1.1").unwrap(), ".:53\n errors\n forward . 1.1.1.1");
    }

    #[test]
    fn blocks_on_one_line_are_read() {
        assert_eq!(outline(&[], ". { errors }").unwrap(), ".\n errors");
        assert_eq!(outline(&[], ".:53 {\n log . {\n class error\n }\n}").unwrap(), ".:53\n log .\n  class error");
        assert_eq!(outline(&[], ".:53 {\n ready { }\n log\n}").unwrap(), ".:53\n ready\n log");
    }

    #[test]
    fn snippets_and_files_are_imported_wherever_they_are_named() {
        let files =
            &[("custom/a.override", "log\nhosts {\n fallthrough\n}"), ("custom/b.server", "x.org {\n errors\n}")];
        let text = "(base) {\n errors\n cache 30 {\n  prefetch 2\n }\n}\n. {\n import base\n import custom/*.override\n \
                    import none/*.override\n}\nimport custom/*.server";
        assert_eq!(
            outline(files, text).unwrap(),
            ".\n errors\n cache 30\n  prefetch 2\n log\n hosts\n  fallthrough\nx.org\n errors"
        );
    }

    #[test]
    fn what_is_broken_is_named_with_its_line() {
        let refusal = |text| outline(&[("loop", "import loop")], text).unwrap_err();
        assert_eq!(refusal(".:53 {\n errors\n"), "Corefile:1: .:53: never closed: a } is missing");
        assert_eq!(refusal(".:53 {\n health {\n}\n"), "Corefile:1: .:53: never closed: a } is missing");
        assert_eq!(refusal(". {\n}\n}"), "Corefile:3: }: expected a zone: this brace closes nothing");
        assert_eq!(refusal(". {\n import nowhere\n}"), "Corefile:2: import: cannot be imported: no such file");
        assert_eq!(refusal(". {\n import loop\n}"), "loop:1: import: imports itself, or more than 1000 others");
        assert_eq!(refusal("{\n}"), "Corefile:1: server block: expected a zone such as .:53 in front of it");
        let deep: &'static str = Box::leak(format!(". {{\n{}", "a {\n".repeat(100_000)).into_boxed_str());
        assert_eq!(refusal(deep), "Corefile:18: a: blocks within blocks, more than 16 deep");
        assert!(refusal("# nothing").starts_with("Corefile:1: Corefile: has no server block"));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_is_read_or_refused(text in "[a.:{}\"\\\\# \n(){$%]{0,60}") {
            let _ = RawCorefile::parse("Corefile", &text, &Files(&[]));
        }
    }
}
