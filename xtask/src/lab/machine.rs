//! A machine of the lab: namespaces of its own, whose process 1 keeps services running.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::progress::wait_for;
use crate::process::run;

/// What process 1 of every machine calls itself (`lab/machine`).
const PROCESS_NAME: &[u8] = b"fairway-lab-machine";
/// A machine answers in well under a second; a loaded host may take its time.
const BOOT_LIMIT: Duration = Duration::from_secs(20);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A machine, up or not.
#[derive(Clone)]
pub struct Machine {
    /// Its host name.
    pub name: String,
    /// Its files: what it sees in place of the host's, its logs, its socket.
    pub folder: PathBuf,
}

/// A program a machine keeps running.
pub struct Service {
    /// Its name; the log is `logs/NAME.log`.
    pub name: &'static str,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// A service as its machine tells of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Running {
    /// Its name.
    pub name: String,
    /// Its process inside the machine; 0 while it is down.
    pub pid: u32,
    /// How often it was started again.
    pub restarts: u32,
}

/// What the machine sees otherwise than the host.
pub enum Mount {
    /// A folder or file of the machine's own.
    Own { source: &'static str, target: &'static str },
    /// The host's folder below one of the machine's own.
    Over { source: &'static str, target: &'static str },
    /// An empty folder in memory.
    Empty { target: &'static str },
}

/// Which of a machine's namespaces to enter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    /// Its network alone: the files are the host's.
    Network,
    /// Its network and its processes, so that whatever is started there ends with the machine.
    Processes,
    /// All of them.
    Everything,
}

impl Machine {
    /// Starts it with `program` (`lab/machine`), and waits until it takes orders.
    pub fn boot(&self, program: &Path, mounts: &[Mount]) -> Result<()> {
        let spec = json!({ "Hostname": self.name, "Mounts": mounts.iter().map(Mount::to_json).collect::<Vec<_>>() });
        let path = self.spec();
        fs::write(&path, serde_json::to_vec(&spec)?).with_context(|| format!("cannot write {}", path.display()))?;
        run(Command::new(program).arg("boot").arg(&path))?;
        let booted = wait_for(format_args!("{} to boot", self.name), BOOT_LIMIT, || self.services().map(Some));
        booted.map(|_| ()).with_context(|| format!("see {}", self.folder.join("machine.log").display()))
    }

    /// The id of its process 1 as the host counts, if it is up.
    pub fn first_process(&self) -> Result<Option<u32>> {
        let spec = self.spec();
        Ok(processes()?.into_iter().find(|(_, path)| *path == spec).map(|(pid, _)| pid))
    }

    /// A command that runs `program` inside.
    pub fn command(&self, inside: Inside, program: &str) -> Result<Command> {
        let Some(pid) = self.first_process()? else { bail!("{} is not up", self.name) };
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={pid}")).arg("--net");
        if inside != Inside::Network {
            command.arg("--pid");
        }
        if inside == Inside::Everything {
            command.args(["--mount", "--uts", "--ipc"]);
        }
        command.arg("--").arg(program);
        Ok(command)
    }

    /// Starts a service; it is started again whenever it ends.
    pub fn start(&self, service: &Service) -> Result<()> {
        let Service { name, program, arguments } = service;
        let service = json!({ "name": name, "program": program, "arguments": arguments });
        self.ask(&json!({ "do": "start", "service": service })).map(|_| ())
    }

    /// Ends a service for good.
    pub fn stop(&self, name: &str) -> Result<()> {
        self.ask(&json!({ "do": "stop", "service": { "name": name } })).map(|_| ())
    }

    /// Sends a signal to a service's process.
    pub fn signal(&self, name: &str, signal: u8) -> Result<()> {
        self.ask(&json!({ "do": "signal", "service": { "name": name }, "signal": signal })).map(|_| ())
    }

    /// The services and how they are.
    pub fn services(&self) -> Result<Vec<Running>> {
        let mut services = self.ask(&json!({ "do": "list" }))?;
        services.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(services)
    }

    /// The end of a service's log.
    pub fn log_end(&self, service: &str) -> String {
        let text = fs::read(self.folder.join("logs").join(format!("{service}.log"))).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    fn spec(&self) -> PathBuf {
        self.folder.join("machine.json")
    }

    fn ask(&self, request: &Value) -> Result<Vec<Running>> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            error: String,
            services: Vec<Running>,
        }
        let mut stream = UnixStream::connect(self.folder.join("control.sock"))
            .with_context(|| format!("{} does not take orders", self.name))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        // In one piece: the machine answers and hangs up once it has read the request.
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        let answer: Answer = serde_json::from_str(&line).context("an answer that makes no sense")?;
        if answer.error.is_empty() { Ok(answer.services) } else { bail!("{}: {}", self.name, answer.error) }
    }
}

impl Mount {
    fn to_json(&self) -> Value {
        match self {
            Self::Own { source, target } => json!({ "Kind": "bind", "Source": source, "Target": target }),
            Self::Over { source, target } => json!({ "Kind": "overlay", "Source": source, "Target": target }),
            Self::Empty { target } => json!({ "Kind": "tmpfs", "Target": target }),
        }
    }
}

/// Process 1 of every machine of every lab: its id on the host, and the file that describes the machine.
pub fn processes() -> Result<Vec<(u32, PathBuf)>> {
    let listed = fs::read_dir("/proc").context("cannot read /proc")?;
    let ids = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    Ok(ids.filter_map(|id| Some((id, described_by(&fs::read(format!("/proc/{id}/cmdline")).ok()?)?))).collect())
}

fn described_by(command_line: &[u8]) -> Option<PathBuf> {
    let mut words = command_line.split(|byte| *byte == 0);
    let is_machine = words.next()? == PROCESS_NAME && words.next()? == b"run";
    let path = String::from_utf8(words.next()?.to_vec()).ok()?;
    is_machine.then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_known_by_its_command_line() {
        assert_eq!(described_by(b"fairway-lab-machine\0run\0/l/x.json\0"), Some("/l/x.json".into()));
        assert_eq!(described_by(b"/c/machine\0boot\0/l/x.json\0"), None);
        assert_eq!(described_by(b"fairway-lab-machine\0"), None);
    }
}
