//! What commands print on standard output.

use std::fmt;
use std::io::{self, ErrorKind, Write as _};
use std::process;

/// Prints a line, as `println!` does; a reader that has enough and goes (`| head`) is no failure.
macro_rules! say {
    ($($argument:tt)*) => { $crate::output::line(format_args!($($argument)*)) };
}

/// See [`say!`].
pub fn line(text: fmt::Arguments<'_>) {
    check(writeln!(io::stdout().lock(), "{text}"));
}

/// Prints bytes as they are.
pub fn bytes(bytes: &[u8]) {
    check(io::stdout().lock().write_all(bytes));
}

/// Prints columns as wide as their widest cell; the last one is not padded.
pub fn columns(header: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(header.get(column).map(|cell| cell.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let line: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        say!("{}", line.join("  ").trim_end());
    };
    print(&mut header.iter().copied());
    for row in rows {
        print(&mut row.iter().map(String::as_str));
    }
}

/// Ends the program when something could not be printed: who reads a file must not take a part of it for the whole.
fn check(printed: io::Result<()>) {
    match printed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("error: cannot write to standard output: {error}");
            process::exit(1);
        }
        _ => {}
    }
}
