//! Command lines the way getopt reads them: `-qO-` is `-q -O -`.

use std::collections::BTreeMap;

/// The options and other words of one call.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ShortFlags {
    values: BTreeMap<String, Vec<String>>,
    /// What is no option, in order.
    pub words: Vec<String>,
}

impl ShortFlags {
    /// Takes `arguments` apart: `with_value` lists the letters that take a value, `long` the long options that do.
    ///
    /// # Errors
    /// One line for the user.
    pub fn parse(arguments: &[String], with_value: &str, long: &[&str]) -> Result<Self, String> {
        let mut flags = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if let Some(name) = argument.strip_prefix("--") {
                let (name, value) = match name.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None if long.contains(&name) => (name, rest.next().cloned()),
                    None => (name, Some(String::new())),
                };
                flags.set(name, value.ok_or_else(|| format!("option '--{name}' requires an argument"))?);
            } else if let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) {
                flags.letters(letters, with_value, &mut rest)?;
            } else {
                flags.words.push(argument.clone());
            }
        }
        Ok(flags)
    }

    fn letters<'a>(
        &mut self,
        letters: &str,
        with_value: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), String> {
        for (at, letter) in letters.char_indices() {
            let name = letter.to_string();
            if !with_value.contains(letter) {
                self.set(&name, String::new());
                continue;
            }
            let attached = &letters[at + letter.len_utf8()..];
            let value = if attached.is_empty() { rest.next().cloned() } else { Some(attached.to_owned()) };
            self.set(&name, value.ok_or_else(|| format!("option requires an argument -- '{letter}'"))?);
            return Ok(());
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: String) {
        self.values.entry(name.to_owned()).or_default().push(value);
    }

    /// Whether one of these options was given.
    pub fn has(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.values.contains_key(*name))
    }

    /// Every value of an option.
    pub fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// The last value of one of these options.
    pub fn last(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.all(name).last()).map(String::as_str)
    }

    /// The number one of these options gives, `default` without it.
    ///
    /// # Errors
    /// One line for the user.
    pub fn number<T: std::str::FromStr>(&self, names: &[&str], default: T) -> Result<T, String> {
        self.last(names).map_or(Ok(default), |text| text.parse().map_err(|_| format!("invalid number '{text}'")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<ShortFlags, String> {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        ShortFlags::parse(&arguments, "OT", &["header"])
    }

    #[test]
    fn letters_may_stand_together_and_carry_their_value() {
        for line in ["-qO- -T2 http://web", "-q -O - -T 2 http://web", "http://web -qT2 -O-"] {
            let flags = parse(line).unwrap();
            assert!(flags.has(&["q"]), "{line}");
            assert_eq!((flags.last(&["O"]), flags.number(&["T"], 0)), (Some("-"), Ok(2)), "{line}");
            assert_eq!(flags.words, ["http://web"], "{line}");
        }
    }

    #[test]
    fn long_options_are_taken_in_both_spellings() {
        let flags = parse("--header=A:1 --header B:2 --spider").unwrap();
        assert_eq!(flags.all("header"), ["A:1", "B:2"]);
        assert!(flags.has(&["spider"]));
    }

    #[test]
    fn a_missing_value_is_named() {
        assert_eq!(parse("-O").unwrap_err(), "option requires an argument -- 'O'");
        assert_eq!(parse("--header").unwrap_err(), "option '--header' requires an argument");
    }
}
