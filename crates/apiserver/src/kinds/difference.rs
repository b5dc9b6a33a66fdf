//! Two objects side by side, for error texts.

use serde_json::{Map, Value};

const CONTEXT_LINES: usize = 3;

/// The lines in which two objects differ, as a unified difference; empty if they do not.
///
/// Names are sorted, so that only values make a difference.
pub(crate) fn unified(old: &Value, new: &Value) -> String {
    let (old, new) = (pretty(old), pretty(new));
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let edits = edits_between(&old, &new);
    hunks_of(&edits).iter().map(|hunk| print_hunk(&edits[hunk.clone()])).collect()
}

/// One line of a difference, with its place in the old and the new text.
#[derive(Debug, Clone, Copy)]
struct Edit<'a> {
    kind: Kind,
    line: &'a str,
    old_at: usize,
    new_at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kept,
    Removed,
    Added,
}

/// The shortest way from the old lines to the new ones.
fn edits_between<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Edit<'a>> {
    // common[i][j]: how many lines the ends of both texts, from i and from j, have in common.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] =
                if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut edits = Vec::new();
    while i < old.len() || j < new.len() {
        let kind = if i < old.len() && j < new.len() && old[i] == new[j] {
            Kind::Kept
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            Kind::Removed
        } else {
            Kind::Added
        };
        let line = if kind == Kind::Added { new[j] } else { old[i] };
        edits.push(Edit { kind, line, old_at: i, new_at: j });
        i += usize::from(kind != Kind::Added);
        j += usize::from(kind != Kind::Removed);
    }
    edits
}

/// The stretches around changes, joined where their context meets.
fn hunks_of(edits: &[Edit<'_>]) -> Vec<std::ops::Range<usize>> {
    let mut hunks: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, _) in edits.iter().enumerate().filter(|(_, edit)| edit.kind != Kind::Kept) {
        let (start, end) = (at.saturating_sub(CONTEXT_LINES), (at + CONTEXT_LINES + 1).min(edits.len()));
        match hunks.last_mut() {
            Some(last) if last.end >= start => last.end = end,
            _ => hunks.push(start..end),
        }
    }
    hunks
}

fn print_hunk(edits: &[Edit<'_>]) -> String {
    let Some(first) = edits.first() else { return String::new() };
    let length = |without: Kind| edits.iter().filter(|edit| edit.kind != without).count();
    let (old, new) = (length(Kind::Added), length(Kind::Removed));
    let mut text = format!("@@ -{},{old} +{},{new} @@\n", first.old_at + 1, first.new_at + 1);
    for edit in edits {
        let sign = match edit.kind {
            Kind::Kept => ' ',
            Kind::Removed => '-',
            Kind::Added => '+',
        };
        text.push(sign);
        text.push_str(edit.line);
        text.push('\n');
    }
    text
}

fn pretty(value: &Value) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    match serde::Serialize::serialize(&sorted(value), &mut serializer) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => value.to_string(),
    }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            Value::Object(entries.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_changes_and_their_surroundings_are_shown() {
        let object = |f: &str, z: Value| json!({"z": z, "a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": f, "y": 6});
        assert_eq!(
            unified(&object("x", json!(7)), &object("changed", json!(7))),
            "@@ -4,7 +4,7 @@\n  \"c\": 3,\n  \"d\": 4,\n  \"e\": 5,\n- \"f\": \"x\",\n+ \"f\": \"changed\",\n  \
             \"y\": 6,\n  \"z\": 7\n }\n"
        );
    }

    #[test]
    fn distant_changes_are_separate() {
        let list = |first: u8, last: u8| json!([first, 1, 2, 3, 4, 5, 6, 7, 8, last]);
        let text = unified(&list(0, 9), &list(10, 19));
        assert_eq!(text.matches("@@ -").count(), 2);
        assert_eq!(unified(&list(0, 9), &list(0, 9)), "");
    }
}
