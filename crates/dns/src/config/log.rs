//! `log`: which queries are logged.

use super::reading::Reading;
use super::zones::{is_within, zones_in};
use crate::corefile::{CorefileError, Directive};
use crate::wire::{DomainName, QueryName};

const OPTIONS: &[&str] = &["class"];

/// Which queries are logged.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// What is logged of which zones; the first that fits decides.
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    zones: Vec<DomainName>,
    classes: Classes,
}

/// What became of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Classes {
    success: bool,
    denial: bool,
    error: bool,
}

impl Classes {
    const ALL: Self = Self { success: true, denial: true, error: true };

    /// Whether an answer belongs to one of them, by its code and whether it has records.
    fn has(self, rcode: u8, has_answer: bool) -> bool {
        match rcode {
            0 if has_answer => self.success,
            0 | 3 => self.denial,
            _ => self.error,
        }
    }
}

impl LogConfig {
    /// Whether to log a query for `name` that was answered with `rcode`, with records or without.
    pub fn includes(&self, name: &QueryName, (rcode, has_answer): (u8, bool)) -> bool {
        let rule = self.rules.iter().find(|rule| is_within(name, &rule.zones));
        rule.is_some_and(|rule| rule.classes.has(rcode, has_answer))
    }
}

impl Reading<'_> {
    pub(super) fn log(&mut self, directive: &Directive, log: &mut Option<LogConfig>) -> Result<(), CorefileError> {
        let is_format = |word: &&String| word.contains('{');
        let format = directive.arguments.last().filter(is_format);
        let names = &directive.arguments[..directive.arguments.len() - usize::from(format.is_some())];
        let zones = if names.is_empty() { vec![DomainName::root()] } else { zones_in(directive, names)? };
        if format.is_some_and(|format| format != "{common}") {
            self.not_built(directive)?;
        }
        let mut classes = Classes::default();
        for option in &directive.body {
            match &*option.name {
                "class" => add_classes(option, &mut classes)?,
                _ => return Err(directive.no_such(option, OPTIONS)),
            }
        }
        if classes == Classes::default() {
            classes = Classes::ALL;
        }
        let rule = Rule { zones, classes };
        log.get_or_insert_with(|| LogConfig { rules: Vec::new() }).rules.push(rule);
        Ok(())
    }
}

fn add_classes(option: &Directive, classes: &mut Classes) -> Result<(), CorefileError> {
    const EXPECTED: &str = "all, success, denial or error";
    option.counts(1..=4, EXPECTED)?;
    for word in &option.arguments {
        match &**word {
            "all" => *classes = Classes::ALL,
            "success" => classes.success = true,
            "denial" => classes.denial = true,
            "error" => classes.error = true,
            other => return Err(option.refused(other, EXPECTED)),
        }
    }
    Ok(())
}
