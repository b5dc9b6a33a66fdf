//! What a prober tells second by second (`lab/probe`), and what may be concluded from it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Deserialize;

/// Seconds since 1970, from the first to the last.
pub type Window = RangeInclusive<u64>;

/// One prober's seconds.
#[derive(Debug, Default, PartialEq)]
pub struct Tally(BTreeMap<u64, Second>);

#[derive(Debug, PartialEq, Deserialize)]
struct Second {
    at: u64,
    sent: usize,
    lost: usize,
    #[serde(default)]
    why: String,
}

/// What a prober says about a window.
#[derive(Debug, Default, PartialEq)]
pub struct Judgement {
    /// Requests in the seconds that are clear.
    pub sent: usize,
    /// Those of them without an answer in time.
    pub lost: usize,
    /// What became of the first of these.
    pub why: Option<String>,
    /// Seconds in which the machine had no time, so that nothing can be told.
    pub unclear: Vec<u64>,
}

impl Tally {
    /// Reads a container's log: behind the runtime's words a line of JSON for each second.
    pub fn parse(log: &str) -> Self {
        let line = |line: &str| serde_json::from_str::<Second>(&line[line.find('{')?..]).ok();
        Self(log.lines().filter_map(line).map(|second| (second.at, second)).collect())
    }

    /// The last second that was told.
    pub fn last(&self) -> Option<u64> {
        self.0.keys().next_back().copied()
    }

    /// Judges a window beside `controls`, probers that use no network. Each sends so many requests a second. What was
    /// lost beside a second in which one of them starved is not held against the network, and what was not lost then
    /// is no credit to it.
    pub fn judge(&self, rate: usize, controls: &[(Self, usize)], window: &Window) -> Judgement {
        let mut judgement = Judgement::default();
        for at in window.clone() {
            let had_time = |near| controls.iter().all(|(control, rate)| control.had_time(near, *rate));
            match self.0.get(&at) {
                Some(second) if second.sent * 2 >= rate && (at - 1..=at + 1).all(had_time) => judgement.add(second),
                _ => judgement.unclear.push(at),
            }
        }
        judgement
    }

    fn had_time(&self, at: u64, rate: usize) -> bool {
        self.0.get(&at).is_some_and(|second| second.lost == 0 && second.sent * 2 >= rate)
    }
}

impl Judgement {
    fn add(&mut self, second: &Second) {
        self.sent += second.sent;
        self.lost += second.lost;
        if second.lost > 0 && self.why.is_none() {
            self.why = Some(second.why.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A prober that lost so many of ten in each second from 100 on.
    fn tally(lost: &[usize]) -> Tally {
        let line = |(at, lost)| {
            format!("2026-01-01T00:00:00Z stdout F {{\"at\":{at},\"sent\":10,\"lost\":{lost},\"why\":\"no\"}}\n")
        };
        Tally::parse(&(100_u64..).zip(lost).map(line).collect::<String>())
    }

    #[test]
    fn what_is_lost_while_the_machine_has_time_is_lost_by_the_network() {
        let judgement = tally(&[0, 0, 2, 1, 0, 0]).judge(10, &[(tally(&[0; 6]), 10)], &(101..=104));
        assert_eq!(judgement, Judgement { sent: 40, lost: 3, why: Some("no".into()), unclear: vec![] });
    }

    #[test]
    fn a_second_beside_one_in_which_the_control_starved_tells_nothing() {
        let judgement = tally(&[0, 0, 2, 1, 0, 0]).judge(
            10,
            &[(tally(&[0; 6]), 10), (tally(&[0, 0, 0, 1, 0, 0]), 10)],
            &(101..=104),
        );
        assert_eq!(judgement, Judgement { sent: 10, unclear: vec![102, 103, 104], ..Judgement::default() });
    }

    #[test]
    fn a_prober_that_did_not_ask_has_not_succeeded() {
        let silent = tally(&[0, 0]).judge(10, &[(tally(&[0; 6]), 10)], &(101..=103));
        assert_eq!((silent.sent, silent.unclear), (10, vec![102, 103]));
        let slow = tally(&[0; 6]).judge(30, &[(tally(&[0; 6]), 10)], &(101..=102));
        assert_eq!((slow.sent, slow.unclear), (0, vec![101, 102]));
    }
}
