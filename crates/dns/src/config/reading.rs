//! Reading directives into meaning.

use std::ops::RangeInclusive;
use std::str::FromStr;

use super::{Defaults, Unsupported};
use crate::corefile::{CorefileError, Directive, Fault, Surroundings};

/// What reading a Corefile's directives needs, and what it left out.
pub(super) struct Reading<'a> {
    pub(super) defaults: &'a Defaults,
    pub(super) surroundings: &'a dyn Surroundings,
    pub(super) ignored: Vec<CorefileError>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(defaults: &'a Defaults, surroundings: &'a dyn Surroundings) -> Self {
        Self { defaults, surroundings, ignored: Vec::new() }
    }

    /// Refuses or leaves out what Fairway has not.
    pub(super) fn not_built(&mut self, directive: &Directive) -> Result<(), CorefileError> {
        let error = directive.error(Fault::NotBuilt);
        match self.defaults.unsupported {
            Unsupported::Refuse => Err(error),
            Unsupported::Ignore => {
                self.ignored.push(error);
                Ok(())
            }
        }
    }
}

impl Directive {
    pub(super) fn error(&self, fault: Fault) -> CorefileError {
        CorefileError { at: self.at.clone(), subject: self.name.clone(), fault }
    }

    /// A value of it that cannot be used.
    pub(super) fn refused(&self, value: &str, expected: &'static str) -> CorefileError {
        self.error(Fault::Value { value: value.to_owned(), expected })
    }

    /// An option in its block that it does not have.
    pub(super) fn no_such(&self, option: &Self, known: &'static [&'static str]) -> CorefileError {
        option.error(Fault::UnknownOption { directive: self.name.clone(), known })
    }

    /// Checks how many words stand behind its name.
    pub(super) fn counts(&self, range: RangeInclusive<usize>, expected: &'static str) -> Result<(), CorefileError> {
        let found = self.arguments.len();
        if range.contains(&found) { Ok(()) } else { Err(self.error(Fault::Count { found, expected })) }
    }

    pub(super) fn has_no_block(&self) -> Result<(), CorefileError> {
        match self.body.first() {
            None => Ok(()),
            Some(_) => Err(self.error(Fault::Expected { expected: "no block behind it" })),
        }
    }

    /// Checks that it is nothing but its name; then it is said, and so true.
    pub(super) fn is_bare(&self) -> Result<bool, CorefileError> {
        self.counts(0..=0, "none")?;
        self.has_no_block().map(|()| true)
    }

    /// Its only word.
    pub(super) fn only(&self, expected: &'static str) -> Result<&str, CorefileError> {
        self.counts(1..=1, expected)?;
        self.has_no_block()?;
        Ok(&self.arguments[0])
    }

    /// Its only word as what it means.
    pub(super) fn only_as<T>(
        &self,
        parse: impl FnOnce(&str) -> Option<T>,
        expected: &'static str,
    ) -> Result<T, CorefileError> {
        let text = self.only(expected)?;
        parse(text).ok_or_else(|| self.refused(text, expected))
    }

    /// The word at `index` as a number, if it is there.
    pub(super) fn number_at<T: FromStr>(
        &self,
        index: usize,
        expected: &'static str,
    ) -> Result<Option<T>, CorefileError> {
        let Some(text) = self.arguments.get(index) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.refused(text, expected))
    }
}
