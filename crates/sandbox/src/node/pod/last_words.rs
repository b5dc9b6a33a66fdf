//! What a container says about its end.

use super::slot::Slot;
use crate::shim::Place;

/// How much of a container's last words is kept.
const LAST_WORDS_BYTES: usize = 4096;

/// What a container left in its termination message file, or the end of its log if it asks for that.
pub(super) fn last_words(slot: &Slot, place: &Place, code: i32) -> Option<String> {
    let text = |bytes: Vec<u8>| {
        let start = bytes.len().saturating_sub(LAST_WORDS_BYTES);
        String::from_utf8_lossy(&bytes[start..]).into_owned()
    };
    let written = std::fs::read(place.directory().join("last-words")).map(text).unwrap_or_default();
    if !written.is_empty() {
        return Some(written);
    }
    let falls_back = slot.spec.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
    if code == 0 || !falls_back {
        return None;
    }
    let log = std::fs::read(place.spec().ok()?.log).ok()?;
    let lines = log.split(|&byte| byte == b'\n').filter_map(crate::shim::log::Line::parse);
    let lines: Vec<_> = lines.map(|line| String::from_utf8_lossy(line.text).into_owned()).collect();
    let last = &lines[lines.len().saturating_sub(80)..];
    Some(text(last.join("\n").into_bytes())).filter(|words| !words.is_empty())
}
