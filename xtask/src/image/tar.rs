//! Tar archives (POSIX ustar) that hold nothing but names, modes and bytes.

const BLOCK: usize = 512;

/// An archive in the making.
#[derive(Debug, Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    /// Adds a directory that everybody may enter.
    pub fn directory(&mut self, name: &str) {
        self.header(&format!("{name}/"), 0o755, 0, b'5');
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.header(name, mode, content.len(), b'0');
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }

    /// Owner 0, time 0: the same content is the same archive whoever makes it and when.
    fn header(&mut self, name: &str, mode: u32, size: usize, kind: u8) {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, field: &[u8]| block[at..at + field.len()].copy_from_slice(field);
        debug_assert!(name.len() <= 100, "longer names need an extension of the format");
        put(0, name.as_bytes());
        put(100, format!("{mode:07o}").as_bytes());
        put(108, b"0000000");
        put(116, b"0000000");
        put(124, format!("{size:011o}").as_bytes());
        put(136, b"00000000000");
        // The checksum is taken as if its own field held spaces.
        put(148, b"        ");
        put(156, &[kind]);
        put(257, b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.bytes.extend_from_slice(&block);
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_system_s_tar_reads_what_is_written() {
        let mut tar = Tar::default();
        tar.directory("bin");
        tar.file("bin/program", 0o755, b"hello");
        tar.file("empty", 0o644, b"");
        let mut command = Command::new("tar");
        command.args(["--list", "--verbose", "--numeric-owner", "--utc"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&tar.finish()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let listed: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(words).collect();
        let expected = [
            "drwxr-xr-x 0/0 0 1970-01-01 00:00 bin/",
            "-rwxr-xr-x 0/0 5 1970-01-01 00:00 bin/program",
            "-rw-r--r-- 0/0 0 1970-01-01 00:00 empty",
        ];
        assert_eq!(listed, expected);
    }
}
