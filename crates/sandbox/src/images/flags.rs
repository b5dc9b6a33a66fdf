//! Command line flags the way Go programs take them: `-name`, `--name`, `--name=value`, `--name value`.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

/// The flags and other arguments of one call.
#[derive(Debug, Default)]
pub struct Flags {
    values: BTreeMap<String, String>,
    /// What is no flag, in order.
    pub positional: Vec<String>,
}

impl Flags {
    /// Takes `arguments` apart. `known` lists the flags that take a value, `switches` those that need none.
    ///
    /// The error is one line for the user.
    pub fn parse(arguments: &[String], known: &[&str], switches: &[&str]) -> Result<Self, String> {
        let mut flags = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let Some(body) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
                flags.positional.push(argument.clone());
                continue;
            };
            if body.is_empty() {
                flags.positional.extend(rest.by_ref().cloned());
                break;
            }
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (body, None),
            };
            let value = match value {
                Some(value) if known.contains(&name) || switches.contains(&name) => value,
                None if switches.contains(&name) => "true".to_owned(),
                None if known.contains(&name) => {
                    rest.next().cloned().ok_or_else(|| format!("flag needs an argument: --{name}"))?
                }
                _ => return Err(format!("unknown flag: --{name}")),
            };
            flags.values.insert(name.to_owned(), value);
        }
        Ok(flags)
    }

    /// The text of flag `name`, if given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The value of flag `name`, `default` if not given.
    pub fn value<T: FromStr>(&self, name: &str, default: T) -> Result<T, String> {
        match self.values.get(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| format!("invalid argument {text:?} for \"--{name}\" flag")),
        }
    }

    /// The value of the duration flag `name`, zero if not given.
    pub fn duration(&self, name: &str) -> Result<Duration, String> {
        match self.values.get(name) {
            None => Ok(Duration::ZERO),
            Some(text) => parse_duration(text).ok_or_else(|| {
                format!("invalid argument {text:?} for \"--{name}\" flag: time: invalid duration {text:?}")
            }),
        }
    }
}

/// Reads a duration as Go writes it: `300ms`, `1.5h`, `2m30s`, `0`. Negative ones are refused.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let seconds = match &after[..unit_end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(amount * seconds).ok()?;
        rest = &after[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Flags, String> {
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        Flags::parse(&arguments, &["port", "timeout"], &["tcp"])
    }

    #[test]
    fn all_four_spellings_are_taken() {
        for arguments in [&["--port=7"][..], &["--port", "7"], &["-port=7"], &["-port", "7"]] {
            assert_eq!(parse(arguments).unwrap().value("port", 0), Ok(7), "{arguments:?}");
        }
    }

    #[test]
    fn a_switch_takes_no_argument_but_may_be_denied() {
        let flags = parse(&["--tcp", "host:80"]).unwrap();
        assert_eq!((flags.value("tcp", false), flags.positional), (Ok(true), vec!["host:80".to_owned()]));
        assert_eq!(parse(&["--tcp=false"]).unwrap().value("tcp", true), Ok(false));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(parse(&["--nope"]).unwrap_err(), "unknown flag: --nope");
        assert_eq!(parse(&["--port"]).unwrap_err(), "flag needs an argument: --port");
        assert!(parse(&["--port=x"]).unwrap().value("port", 1u16).unwrap_err().contains("\"x\""));
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(parse_duration("2m30s"), Some(Duration::from_secs(150)));
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("0"), Some(Duration::ZERO));
        assert_eq!((parse_duration("5"), parse_duration(""), parse_duration("-1s")), (None, None, None));
    }
}
