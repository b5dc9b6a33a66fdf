//! Words of the command line.

use anyhow::{Context, Result, bail};

/// Options with values, and the other words.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    given: Vec<(String, String)>,
    /// What is neither option nor value, in order.
    words: Vec<String>,
}

/// Where options may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Anywhere.
    Everywhere,
    /// Before the first other word, which begins somebody else's command.
    Before,
}

impl Options {
    /// Reads `--name value` and `--name=value`, and `-o` as `--output`.
    pub fn parse(words: &[String], scope: Scope) -> Result<Self> {
        let mut options = Self { given: Vec::new(), words: Vec::new() };
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let foreign = scope == Scope::Before && !options.words.is_empty();
            let Some(option) = option(word).filter(|_| !foreign) else {
                options.words.push(word.clone());
                continue;
            };
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, rest.next().cloned()),
            };
            let Some(value) = value else { bail!("--{name} needs a value") };
            options.given.push((name.to_owned(), value));
        }
        Ok(options)
    }

    /// The value of an option, the last one given.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let found = self.given.iter().rposition(|(given, _)| given == name)?;
        let (_, value) = self.given.remove(found);
        self.given.retain(|(given, _)| given != name);
        Some(value)
    }

    /// All values of an option, in order.
    pub fn take_all(&mut self, name: &str) -> Vec<String> {
        let (taken, left): (Vec<_>, _) =
            std::mem::take(&mut self.given).into_iter().partition(|(given, _)| given == name);
        self.given = left;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// The first of the other words.
    pub fn first_word(&self) -> Option<&str> {
        self.words.first().map(String::as_str)
    }

    /// The other words, of which there may be `most`; whatever was not taken is refused.
    pub fn finish(self, most: usize) -> Result<Vec<String>> {
        if let Some((name, _)) = self.given.first() {
            bail!("no option --{name} here; `cargo xtask lab help` lists them");
        }
        if let Some(word) = self.words.get(most) {
            bail!("too many words: {word:?}");
        }
        Ok(self.words)
    }
}

fn option(word: &str) -> Option<&str> {
    if word == "-o" { Some("output") } else { word.strip_prefix("--") }
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A table in Markdown.
    Table,
    /// JSON, for programs.
    Json,
}

/// The value of `-o`.
pub fn take_form(options: &mut Options) -> Result<Form> {
    match options.take("output").as_deref() {
        None | Some("table") => Ok(Form::Table),
        Some("json") => Ok(Form::Json),
        Some(other) => bail!("-o is table or json, not {other:?}"),
    }
}

/// Requests of each node's prober in a second, where nobody says.
const DEFAULT_RATE: usize = 1000;

/// The value of `--rate`.
pub fn take_rate(options: &mut Options) -> Result<usize> {
    options.take("rate").map_or(Ok(DEFAULT_RATE), |text| text.parse()).context("--rate takes a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn options_stand_anywhere_and_the_last_one_counts() {
        let mut options = Options::parse(&words("--name a conformance --name=b"), Scope::Everywhere).unwrap();
        assert_eq!(options.take("name"), Some("b".into()));
        assert_eq!(options.finish(1).unwrap(), ["conformance"]);
    }

    #[test]
    fn options_of_somebody_elses_command_are_left_alone() {
        let mut options = Options::parse(&words("--name a get pods --name b"), Scope::Before).unwrap();
        assert_eq!(options.take("name"), Some("a".into()));
        assert_eq!(options.finish(usize::MAX).unwrap(), words("get pods --name b"));
    }

    #[test]
    fn an_option_may_be_given_often() {
        let mut options = Options::parse(&words("--set a=1 --name b --set c=2"), Scope::Everywhere).unwrap();
        assert_eq!(options.take_all("set"), ["a=1", "c=2"]);
        assert_eq!((options.take_all("set").len(), options.take("name")), (0, Some("b".into())));
    }

    #[test]
    fn results_are_printed_as_asked() {
        let form = |text: &str| take_form(&mut Options::parse(&words(text), Scope::Everywhere).unwrap());
        assert_eq!(form("conformance").unwrap(), Form::Table);
        assert_eq!(form("conformance -o json").unwrap(), Form::Json);
        assert!(form("-o yaml").unwrap_err().to_string().contains("yaml"));
    }

    #[test]
    fn an_unknown_option_is_refused() {
        let options = Options::parse(&words("--nods 3"), Scope::Everywhere).unwrap();
        assert!(options.finish(0).unwrap_err().to_string().contains("--nods"));
        assert!(Options::parse(&words("--nodes"), Scope::Everywhere).is_err());
    }
}
