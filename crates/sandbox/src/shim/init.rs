//! `container-init`: builds the container's world around itself and becomes its program.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::images;
use crate::rootfs::{PROGRAM, Root, enter};

use super::resolve::find_program;
use super::spec::ContainerSpec;
use super::{Place, capabilities, terminal};

/// What the first process asks the shim for when its root is in place.
pub(super) const TERMINAL_WANTED: &str = "terminal";

/// Runs `fairway container-init DIRECTORY` as process 1 of the container: does not return unless it failed.
///
/// It tells the shim on the start socket why it failed; that the socket closes without a word means success.
pub fn container_init(arguments: &[OsString]) -> ExitCode {
    let [directory] = arguments else {
        eprintln!("usage: fairway container-init DIRECTORY");
        return ExitCode::from(2);
    };
    let place = Place::new(PathBuf::from(directory));
    let mut shim = match UnixStream::connect(place.start_socket()) {
        Ok(shim) => shim,
        Err(error) => {
            eprintln!("cannot reach the shim: {error}");
            return ExitCode::FAILURE;
        }
    };
    let failure = become_container(&place, &shim);
    // If the shim is gone there is nobody to tell.
    let _ = writeln!(shim, "failed {failure}");
    ExitCode::from(128)
}

/// A step of starting a container failed. Never a success: that replaces the process.
fn become_container(place: &Place, shim: &UnixStream) -> StartError {
    match prepare(place, shim) {
        Ok((spec, program)) => {
            let (name, rest) = spec.arguments.split_first().map_or(("", [].as_slice()), |(n, r)| (n.as_str(), r));
            let error = Command::new(&program)
                .arg0(name)
                .args(rest)
                .env_clear()
                .envs(spec.environment.iter().map(|(name, value)| (name, value)))
                .exec();
            StartError(format!("exec: {:?}: {error}", program.display().to_string()))
        }
        Err(error) => error,
    }
}

/// Why a container did not start, for a user.
struct StartError(String);

impl std::fmt::Display for StartError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0.replace('\n', " "))
    }
}

fn because<E: std::error::Error>(what: &str) -> impl FnOnce(E) -> StartError {
    move |error| {
        let mut text = format!("{what}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        StartError(text)
    }
}

fn prepare(place: &Place, shim: &UnixStream) -> Result<(ContainerSpec, PathBuf), StartError> {
    set_pdeathsig(Signal::SIGKILL).map_err(because("cannot tie the container to its shim"))?;
    let spec = place.spec().map_err(because("cannot read the container's specification"))?;
    join(&spec).map_err(because("cannot join the pod's namespaces"))?;
    build_root(place, &spec)?;
    if spec.terminal {
        take_terminal(shim).map_err(because("cannot get a terminal"))?;
    } else {
        nix::unistd::setsid().map_err(because("cannot begin a session"))?;
    }
    let directory = &spec.working_directory;
    fs::create_dir_all(directory)
        .and_then(|()| std::env::set_current_dir(directory))
        .map_err(because(&format!("chdir to cwd ({:?}) failed", directory.display().to_string())))?;
    let search_path = spec.environment.iter().find(|(name, _)| name == "PATH").map_or(images::PATH, |(_, value)| value);
    let name = spec.arguments.first().map_or("", String::as_str);
    let program = find_program(name, search_path, directory).map_err(|error| StartError(error.to_string()))?;
    capabilities::limit(&spec).map_err(because("cannot limit capabilities"))?;
    Ok((spec, program))
}

fn join(spec: &ContainerSpec) -> io::Result<()> {
    let namespaces = [
        (&spec.namespaces.network, CloneFlags::CLONE_NEWNET),
        (&spec.namespaces.uts, CloneFlags::CLONE_NEWUTS),
        (&spec.namespaces.ipc, CloneFlags::CLONE_NEWIPC),
    ];
    for (file, kind) in namespaces {
        if let Some(file) = file {
            setns(File::open(file)?, kind)?;
        }
    }
    Ok(())
}

fn build_root(place: &Place, spec: &ContainerSpec) -> Result<(), StartError> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(because("cannot leave the node's mount namespace"))?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(because("cannot make mounts private"))?;
    let root = place.root();
    fs::create_dir_all(&root).map_err(because("cannot make the root's directory"))?;
    let known = Path::new(PROGRAM);
    let program = if known.exists() {
        known.to_path_buf()
    } else {
        std::env::current_exe().map_err(because("cannot find myself"))?
    };
    let (names, tools) = (images::applet_names(), images::tool_names());
    let root_of_container = Root {
        at: &root,
        program: &program,
        program_names: &names,
        tool_names: &tools,
        purpose: spec.purpose,
        binds: &spec.binds,
    };
    root_of_container.build().map_err(because("cannot build the container's root"))?;
    enter(&root).map_err(because("cannot enter the container's root"))?;
    for (path, name) in &spec.links {
        symlink(Path::new("/opt/fairway/bin").join(name), path).map_err(because("cannot link the image's program"))?;
    }
    fs::write(images::NODE_NAME_FILE, &spec.node_name).map_err(because("cannot write the node's name"))
}

/// Asks the shim for a terminal of this container and takes it.
fn take_terminal(mut shim: &UnixStream) -> io::Result<()> {
    writeln!(shim, "{TERMINAL_WANTED}")?;
    let mut path = String::new();
    BufReader::new(shim).read_line(&mut path)?;
    terminal::become_controlled_by(Path::new(path.trim()))
}
