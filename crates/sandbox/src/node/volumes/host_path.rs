//! Directories and files of the node as volumes.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Makes sure that `path` is what `kind` promises, or makes it. The error is a sentence for the user.
pub fn prepare(path: &Path, kind: &str) -> Result<(), String> {
    let found = fs::metadata(path).ok();
    let shown = path.display();
    let holds = |what: &str, is: Option<bool>| match is {
        Some(true) => Ok(()),
        _ => Err(format!("hostPath type check failed: {shown} is not a {what}")),
    };
    let made = |made: std::io::Result<()>| made.map_err(|error| format!("cannot make hostPath {shown}: {error}"));
    match kind {
        // Unset means no check, and a directory where there is nothing, as container runtimes have it.
        "" if found.is_none() => made(fs::create_dir_all(path)),
        "" => Ok(()),
        "DirectoryOrCreate" if found.is_none() => made(fs::create_dir_all(path)),
        "FileOrCreate" if found.is_none() => made(fs::write(path, b"")),
        "Directory" | "DirectoryOrCreate" => holds("directory", found.map(|found| found.is_dir())),
        "File" | "FileOrCreate" => holds("file", found.map(|found| found.is_file())),
        "Socket" => holds("socket", found.map(|found| found.file_type().is_socket())),
        "CharDevice" => holds("character device", found.map(|found| found.file_type().is_char_device())),
        "BlockDevice" => holds("block device", found.map(|found| found.file_type().is_block_device())),
        other => Err(format!("unknown hostPath type {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_made_only_when_asked() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("a/b");
        assert!(prepare(&missing, "Directory").unwrap_err().ends_with("is not a directory"));
        prepare(&missing, "DirectoryOrCreate").unwrap();
        prepare(&missing, "Directory").unwrap();
        assert!(prepare(&missing, "File").is_err());
        prepare(&directory.path().join("f"), "FileOrCreate").unwrap();
        prepare(&directory.path().join("f"), "File").unwrap();
    }
}
