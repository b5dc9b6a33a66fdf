//! `cargo xtask image`: the container image, made from the static program without a container engine.
//!
//! The archive is both an OCI image layout and what `docker load` reads, so that every engine can import it. The same
//! program makes the same bytes: nothing in it depends on when or where it was made.

mod elf;
mod layout;
mod tar;

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use layout::Image;

/// Built apart from the programs of this machine, so that neither build throws away the other's work.
const TARGET_DIR: &str = "target/image";
/// The program's place in the image.
pub const PROGRAM: &str = "bin/fairway";

/// What to make.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    profile: Profile,
    output: PathBuf,
    tags: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Profile {
    Dev,
    Release,
}

/// Builds the program and writes the archive that `words` ask for.
pub fn make(words: &[String]) -> Result<()> {
    let options = parse(words)?;
    let program = build(options.profile)?;
    let binary = std::fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    ensure!(!elf::needs_loader(&binary)?, "{} is not static: it asks for a loader", program.display());
    let output = &options.output;
    let length = write(&binary, &options.tags, output)?;
    eprintln!("{}   {} MiB   {}", output.display(), length >> 20, options.tags.join(" "));
    eprintln!("on a node with containerd: ctr -n k8s.io images import {}", output.display());
    Ok(())
}

/// Writes the archive of an image that holds this program; its length.
pub fn write(binary: &[u8], tags: &[String], output: &Path) -> Result<usize> {
    let archive = Image { program: PROGRAM, binary, tags, version: version() }.archive();
    if let Some(folder) = output.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::fs::write(output, &archive).with_context(|| format!("cannot write {}", output.display()))?;
    Ok(archive.len())
}

/// All crates of the workspace have one version.
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

fn parse(words: &[String]) -> Result<Options> {
    let mut options = Options {
        profile: Profile::Release,
        output: Path::new(TARGET_DIR).join(format!("fairway-{}.tar", version())),
        tags: Vec::new(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--profile" => options.profile = Profile::parse(value()?)?,
            "--output" => options.output = value()?.into(),
            "--tag" => options.tags.push(value()?.clone()),
            other => {
                bail!("cargo xtask image knows --profile release|dev, --output FILE and --tag NAME, not {other:?}")
            }
        }
    }
    if options.tags.is_empty() {
        options.tags.push(format!("fairway:{}", version()));
    }
    Ok(options)
}

impl Profile {
    fn parse(text: &str) -> Result<Self> {
        match text {
            "dev" => Ok(Self::Dev),
            "release" => Ok(Self::Release),
            _ => bail!("--profile is release or dev, not {text:?}"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
        }
    }

    /// The folder that cargo gives it.
    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// Builds the program with the C library inside and without this machine's paths; where it is then.
///
/// It has a fixed place in memory, as programs in Go have: to fill in forty thousand addresses at every start is a third of what a
/// call of the CNI plugin costs. glibc's name resolution does not work in a static program; in a cluster Fairway is told addresses and needs none.
fn build(profile: Profile) -> Result<PathBuf> {
    let target = format!("{ARCH}-unknown-linux-gnu");
    let here = std::env::current_dir().context("cannot tell the current directory")?;
    let (here, home) = (here.display(), cargo_home()?.display().to_string());
    let flags = [
        "-Ctarget-feature=+crt-static".to_owned(),
        "-Crelocation-model=static".to_owned(),
        format!("--remap-path-prefix={here}=/fairway"),
        format!("--remap-path-prefix={home}=/cargo"),
    ];
    let arguments = ["build", "--locked", "--package", "fairway", "--bin", "fairway", "--profile", profile.name()];
    let mut command = Command::new("cargo");
    command.args(arguments).args(["--target", &target, "--target-dir", TARGET_DIR]);
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    command.env("CFLAGS", format!("-ffile-prefix-map={here}=/fairway -ffile-prefix-map={home}=/cargo"));
    let status = command.status().context("cannot run cargo build")?;
    ensure!(status.success(), "the program does not build");
    Ok(Path::new(TARGET_DIR).join(target).join(profile.folder()).join("fairway"))
}

fn cargo_home() -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home).context("set HOME or CARGO_HOME")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Options> {
        parse(&words.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn the_default_is_a_release_under_its_version() {
        let options = parsed(&[]).unwrap();
        assert_eq!((options.profile, options.tags), (Profile::Release, vec![format!("fairway:{}", version())]));
    }

    #[test]
    fn every_option_is_taken() {
        let options = parsed(&["--profile", "dev", "--output", "x.tar", "--tag", "a:1", "--tag", "b:2"]).unwrap();
        let expected =
            Options { profile: Profile::Dev, output: "x.tar".into(), tags: vec!["a:1".into(), "b:2".into()] };
        assert_eq!(options, expected);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for words in [&["--profile", "fast"][..], &["--tag"], &["--push"]] {
            parsed(words).unwrap_err();
        }
    }
}
