//! As much of an ELF file as tells whether it runs without any other file.

use anyhow::{Context, Result, ensure};

/// Type of the program header that names a dynamic loader (ELF specification, `PT_INTERP`).
const INTERPRETER: u32 = 3;

/// Whether the 64-bit little-endian program asks for a dynamic loader, which an image without a C library lacks.
pub fn needs_loader(program: &[u8]) -> Result<bool> {
    ensure!(program.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit little-endian ELF program");
    let headers = number(program, 32, 8)?;
    let (size, count) = (number(program, 54, 2)?, number(program, 56, 2)?);
    for index in 0..count {
        if number(program, headers + index * size, 4)? == u64::from(INTERPRETER) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn number(bytes: &[u8], at: u64, len: usize) -> Result<u64> {
    let at = usize::try_from(at).context("an offset too large")?;
    let field = at.checked_add(len).and_then(|end| bytes.get(at..end)).context("the ELF file is cut off")?;
    Ok(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with one header of this type.
    fn program(header: u8) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (bytes[32], bytes[54], bytes[56]) = (64, 56, 1);
        bytes.extend([header, 0, 0, 0]);
        bytes.extend([0; 52]);
        bytes
    }

    #[test]
    fn a_program_with_an_interpreter_needs_its_loader() {
        assert!(needs_loader(&program(3)).unwrap());
        assert!(!needs_loader(&program(1)).unwrap());
    }

    #[test]
    fn this_test_itself_is_dynamic() {
        assert!(needs_loader(&std::fs::read("/proc/self/exe").unwrap()).unwrap());
    }

    #[test]
    fn what_is_no_program_is_refused() {
        needs_loader(b"#!/bin/sh\n").unwrap_err();
        needs_loader(&program(1)[..66]).unwrap_err();
    }
}
