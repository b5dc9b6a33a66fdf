//! Which lines of a log a client gets, and how they look to it.

use super::request::LogQuery;
use crate::shim::log::Line;

/// Takes a log's bytes as they are read and gives back what the client is to see.
#[derive(Debug)]
pub struct LogView {
    query: LogQuery,
    pending: Vec<u8>,
    sent: usize,
    /// Whether the last text shown was a part of a line that goes on.
    within_line: bool,
}

impl LogView {
    /// A view that has shown nothing yet.
    pub fn new(query: &LogQuery) -> Self {
        Self { query: query.clone(), pending: Vec::new(), sent: 0, within_line: false }
    }

    /// What the client sees of the next bytes of the file.
    pub fn show(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.pending.extend_from_slice(bytes);
        let complete = self.pending.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let rest = self.pending.split_off(complete);
        let lines = std::mem::replace(&mut self.pending, rest);
        let mut shown = Vec::with_capacity(lines.len());
        for line in lines.split(|byte| *byte == b'\n').filter_map(Line::parse) {
            self.show_line(&line, &mut shown);
        }
        let room = self.query.limit_bytes.map_or(usize::MAX, |limit| limit - self.sent);
        shown.truncate(room);
        self.sent += shown.len();
        shown
    }

    /// Whether the client has got all it may get.
    pub fn is_full(&self) -> bool {
        self.query.limit_bytes.is_some_and(|limit| self.sent >= limit)
    }

    fn show_line(&mut self, line: &Line<'_>, shown: &mut Vec<u8>) {
        if self.query.since.is_some_and(|since| line.time < since) {
            return;
        }
        if self.query.timestamps && !self.within_line {
            shown.extend_from_slice(line.time_text.as_bytes());
            shown.push(b' ');
        }
        shown.extend_from_slice(line.text);
        if !line.partial {
            shown.push(b'\n');
        }
        self.within_line = line.partial;
    }
}

/// Where the last `lines` lines of `text` begin.
pub fn tail_start(text: &[u8], lines: usize) -> usize {
    if lines == 0 {
        return text.len();
    }
    let mut ends = text.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    // The last line's own end does not begin a line.
    let last_is_complete = usize::from(text.last() == Some(&b'\n'));
    ends.nth(lines - 1 + last_is_complete).map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = b"2026-11-21T16:00:00.000000001Z stdout F one\n\
        2026-11-21T16:00:01Z stderr P tw\n2026-11-21T16:00:01Z stderr F o\n2026-11-21T16:00:02Z stdout F three\n";

    fn shown(query: &LogQuery) -> String {
        String::from_utf8(LogView::new(query).show(LOG)).unwrap()
    }

    #[test]
    fn parts_of_a_line_are_joined_again() {
        assert_eq!(shown(&LogQuery::default()), "one\ntwo\nthree\n");
    }

    #[test]
    fn each_line_carries_its_time_once() {
        let query = LogQuery { timestamps: true, ..LogQuery::default() };
        let expected = "2026-11-21T16:00:00.000000001Z one\n2026-11-21T16:00:01Z two\n2026-11-21T16:00:02Z three\n";
        assert_eq!(shown(&query), expected);
    }

    #[test]
    fn lines_before_a_time_are_left_out() {
        let since = Some("2026-11-21T16:00:01Z".parse().unwrap());
        assert_eq!(shown(&LogQuery { since, ..LogQuery::default() }), "two\nthree\n");
    }

    #[test]
    fn no_more_bytes_are_shown_than_asked_for() {
        let query = LogQuery { limit_bytes: Some(6), ..LogQuery::default() };
        let mut view = LogView::new(&query);
        assert_eq!((view.show(LOG), view.is_full()), (b"one\ntw".to_vec(), true));
    }

    #[test]
    fn bytes_may_come_in_any_pieces() {
        let mut view = LogView::new(&LogQuery::default());
        let shown: Vec<u8> = LOG.chunks(7).flat_map(|piece| view.show(piece)).collect();
        assert_eq!(shown, b"one\ntwo\nthree\n");
    }

    #[test]
    fn the_tail_begins_where_so_many_lines_are_left() {
        let start = |lines| tail_start(b"a\nb\nc\n", lines);
        assert_eq!([start(0), start(1), start(2), start(3), start(9)], [6, 4, 2, 0, 0]);
        assert_eq!(tail_start(b"a\nb", 1), 2);
    }
}
