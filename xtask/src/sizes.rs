//! Sizes of files and functions, against the house limits.

use anyhow::Result;

use crate::source::{Source, block_end, tracked};

/// Lines of a file without its tests.
const FILE_LIMIT: usize = 700;
/// Lines of a function, but for those with a written reason.
const FUNCTION_LIMIT: usize = 60;
/// The attribute by which a flat table or exhaustive match says why it is long.
const EXCUSE: &str = "clippy::too_many_lines";

/// One function outside tests.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
    excused: bool,
}

/// Prints the table; returns what is over the limits.
pub fn report() -> Result<Vec<String>> {
    let sources = tracked()?;
    let (mut files, mut spans, mut over, mut tests) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for source in &sources {
        let total = source.code.matches('\n').count();
        if source.is_test_file() {
            tests += total;
            continue;
        }
        let inline: usize = source.tests.iter().map(|span| source.code[span.clone()].matches('\n').count()).sum();
        tests += inline;
        files.push(total - inline);
        let path = source.path.display();
        if total - inline > FILE_LIMIT {
            over.push(format!("{path}: {} lines without tests, the limit is {FILE_LIMIT}", total - inline));
        }
        for function in functions(source) {
            spans.push(function.lines);
            if function.lines > FUNCTION_LIMIT && !function.excused {
                let Function { name, line, lines, .. } = function;
                over.push(format!("{path}:{line}: fn {name} has {lines} lines, the limit is {FUNCTION_LIMIT}"));
            }
        }
    }
    print_table(&mut files, &mut spans, tests);
    Ok(over)
}

fn print_table(files: &mut [usize], spans: &mut [usize], tests: usize) {
    files.sort_unstable();
    spans.sort_unstable();
    let code: usize = files.iter().sum();
    let long = spans.iter().filter(|lines| **lines > FUNCTION_LIMIT).count();
    println!("           count   median     p90     p99     max");
    for (name, sizes) in [("files", &*files), ("functions", &*spans)] {
        let [median, p90, p99, max] = [50, 90, 99, 100].map(|percent| percentile(sizes, percent));
        println!("{name:<10} {:>5} {median:>8} {p90:>7} {p99:>7} {max:>7}", sizes.len());
    }
    let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    println!(
        "lines {code} without tests; tests {:.0} % of all; functions over {FUNCTION_LIMIT} lines: {:.1} %",
        share(tests, code + tests),
        share(long, spans.len())
    );
}

fn percentile(sorted: &[usize], percent: usize) -> usize {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

fn functions(source: &Source) -> Vec<Function> {
    let code = &source.code;
    let starts = source.words("fn").into_iter();
    starts
        .filter_map(|at| {
            let rest = &code[at + 2..];
            let name: String = rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let body = at + 2 + body_start(rest)?;
            let end = block_end(code, body);
            let lines = code[at..end].matches('\n').count() + 1;
            (!name.is_empty()).then(|| Function { name, line: source.line_of(at), lines, excused: excused(code, at) })
        })
        .collect()
}

/// Where the body opens, or nothing for a declaration without one.
fn body_start(signature: &str) -> Option<usize> {
    let mut depth = 0i32;
    for (at, byte) in signature.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Whether the attributes before a function say why it is long.
fn excused(code: &str, at: usize) -> bool {
    let before = &code[..at];
    let item = before.rfind(['}', ';']).map_or(0, |end| end + 1);
    before[item..].contains(EXCUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_from_name_to_closing_brace() {
        let text = "fn a(x: [u8; 2]) {\n  1;\n}\ntrait T { fn b(); }\n#[expect(clippy::too_many_lines)]\nfn c() {}\n";
        let found = functions(&Source::new("crates/x/src/lib.rs".into(), text));
        let function = |name: &str, line, lines, excused| Function { name: name.into(), line, lines, excused };
        assert_eq!(found, [function("a", 1, 3, false), function("c", 6, 1, true)]);
    }

    #[test]
    fn percentiles_of_nothing_are_nothing() {
        assert_eq!(percentile(&[], 50), 0);
        assert_eq!(percentile(&[1, 2, 3, 4], 100), 4);
    }
}
