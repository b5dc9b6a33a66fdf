//! Finding a container's program as container runtimes do, with their words when it is not there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A program that cannot be started.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// No directory of the search path has it.
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NotInPath(String),
    /// The path leads nowhere.
    #[error("exec: {0:?}: stat {0}: no such file or directory")]
    NoSuchFile(String),
    /// The path leads to a directory.
    #[error("exec: {0:?}: is a directory")]
    Directory(String),
    /// The file may not be executed.
    #[error("exec: {0:?}: permission denied")]
    NotExecutable(String),
    /// There is nothing to look for.
    #[error("no command specified")]
    Empty,
}

/// The file to execute for `program`: itself if it contains a slash, else the first of that name in `search_path`.
pub fn find_program(program: &str, search_path: &str, working_directory: &Path) -> Result<PathBuf, Missing> {
    if program.is_empty() {
        return Err(Missing::Empty);
    }
    if program.contains('/') {
        let path = working_directory.join(program);
        return match fs::metadata(&path) {
            Err(_) => Err(Missing::NoSuchFile(program.to_owned())),
            Ok(found) if found.is_dir() => Err(Missing::Directory(program.to_owned())),
            Ok(found) if found.permissions().mode() & 0o111 == 0 => Err(Missing::NotExecutable(program.to_owned())),
            Ok(_) => Ok(path),
        };
    }
    let candidates = search_path.split(':').map(|directory| working_directory.join(directory).join(program));
    let executable = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    candidates.into_iter().find(executable).ok_or_else(|| Missing::NotInPath(program.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_for_a_missing_program_are_those_users_know() {
        let find =
            |program: &str| find_program(program, "/nonexistent:/usr/bin", Path::new("/")).map_err(|e| e.to_string());
        assert_eq!(find("env"), Ok("/usr/bin/env".into()));
        assert_eq!(find("no-such"), Err(r#"exec: "no-such": executable file not found in $PATH"#.to_owned()));
        assert_eq!(find("/no/such"), Err(r#"exec: "/no/such": stat /no/such: no such file or directory"#.to_owned()));
        assert_eq!(find("/usr"), Err(r#"exec: "/usr": is a directory"#.to_owned()));
        assert_eq!(find("/etc/passwd"), Err(r#"exec: "/etc/passwd": permission denied"#.to_owned()));
    }
}
