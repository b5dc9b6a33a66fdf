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
