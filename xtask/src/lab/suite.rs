//! Running Kubernetes' end-to-end suite against a lab.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::assets::{Assets, repository};
use super::compare::NODES;
use super::conditions::Conditions;
use super::machine::Inside;
use super::progress::Progress;
use super::report::{Outcome, Report, Transcript};
use super::site::{Families, Site};

/// A part of the suite.
pub struct Selection {
    /// Its name, which its results are filed under.
    pub name: String,
    /// Specs whose full name matches are run.
    pub focus: String,
    /// But not these.
    pub skip: String,
    /// Whether that is what is usual for this name.
    usual: bool,
    /// Whether it asks for zones with more than one node each.
    wants_zones: bool,
}

/// What says nothing about a network on this machine: load balancers of a cloud, SCTP sockets, a second address
/// family, hosts of the internet, ten thousand Services for DNS, what logs in on nodes to restart things, and what has
/// a selection of its own.
const NOT_HERE: &str = concat!(
    r"\[Conformance\]|Netpol|Feature:LoadBalancer|Feature:SCTPConnectivity|IPv6|Feature:Networking-(IPv4|DNS)",
    r"|Feature:PerformanceDNS|Forward PTR lookup|Feature:KubeProxyDaemonSetMigration|\[Disruptive\]"
);

/// A handful that fails when anything at all is wrong: pods on two nodes, names, Services, node ports, host ports.
const SMOKE: &str = concat!(
    r"\[sig-network\].*(intra-pod communication: http|node-pod communication: udp|should provide DNS for services",
    r"|should serve a basic endpoint from pods|change the type from ExternalName to NodePort",
    r"|no conflict between pods with same hostPort).*\[Conformance\]"
);

/// What skips itself unless there are three zones, or three nodes.
const TOPOLOGY: &str =
    r"\[sig-network\].*(Traffic Distribution|Topology Hints|NodePort and HealthCheckNodePort correctly)";

impl Selection {
    /// The selection of that name; any other name is what the specs' names must contain.
    pub fn of_name(name: &str, focus: Option<String>, skip: Option<String>) -> Self {
        let (usual_focus, usual_skip) = match name {
            "conformance" => (r"\[sig-network\].*\[Conformance\]", ""),
            "network" => (r"\[sig-network\]", NOT_HERE),
            "netpol" => ("Netpol", "SCTP"),
            "smoke" => (SMOKE, ""),
            "dual" => (r"\[Feature:IPv6DualStack\]", "SCTP"),
            "topology" => (TOPOLOGY, ""),
            other => (other, ""),
        };
        Self {
            name: name.to_owned(),
            usual: focus.is_none() && skip.is_none(),
            wants_zones: name == "topology",
            focus: focus.unwrap_or_else(|| usual_focus.to_owned()),
            skip: skip.unwrap_or_else(|| usual_skip.to_owned()),
        }
    }

    /// The address families of a lab it says something about.
    pub fn families(&self) -> Families {
        if self.name == "dual" { Families::Dual } else { Families::Ipv4 }
    }

    /// How many nodes such a lab has, and over how many zones they are spread.
    pub const fn nodes(&self) -> (usize, usize) {
        if self.wants_zones { (6, 3) } else { (NODES, 0) }
    }

    /// Where its comparison is kept for that stack: with the project if it is the usual one.
    pub fn kept(&self, stack: &str) -> Result<PathBuf> {
        let folder = if self.usual { repository()?.join("lab/results") } else { results_root()? };
        Ok(folder.join(format!("{}-{stack}.json", file_name(&self.name))))
    }
}

/// Runs the selection and tells of each spec as it ends; the report is kept beside the suite's own files. It is there,
/// and tells of the fault, when the suite does not come to its end.
pub fn run(site: &Site, selection: &Selection) -> Result<Report> {
    let shape = site.read_shape()?;
    let (progress, conditions) = (Progress::begin(), Conditions::read()?);
    let suite = Assets::build(progress)?.programs.suite;
    let folder = results_folder(selection, shape.stack.name())?;
    let mut command = site.control().command(Inside::Processes, path_text(&suite)?)?;
    command.args(arguments(site, selection, shape.nodes, &folder));
    let mut transcript = Transcript::default();
    let fault = follow(&mut command, &folder, progress, &mut transcript).err().map(|error| format!("{error:#}"));
    let report = Report {
        suite: selection.name.clone(),
        stack: shape.stack.name().to_owned(),
        seconds: progress.elapsed().as_secs(),
        conditions: Some(conditions),
        fault,
        specs: transcript.specs,
    };
    report.write(&folder.join("report.json"))?;
    Ok(report)
}

/// Where the suite's own files of that run are.
pub fn folder_of(report: &Report) -> Result<PathBuf> {
    Ok(results_root()?.join(format!("{}-{}", file_name(&report.suite), report.stack)))
}

fn arguments(site: &Site, selection: &Selection, nodes: usize, folder: &Path) -> Vec<String> {
    vec![
        "--ginkgo.v".into(),
        "--ginkgo.no-color".into(),
        "--ginkgo.timeout=6h".into(),
        format!("--ginkgo.focus={}", selection.focus),
        format!("--ginkgo.skip={}", selection.skip),
        format!("--kubeconfig={}", site.kubeconfig().display()),
        "--provider=local".into(),
        format!("--num-nodes={nodes}"),
        "--disable-log-dump".into(),
        format!("--report-dir={}", folder.display()),
    ]
}

/// Reads what the suite prints, keeps it, and says each result as it comes.
fn follow(command: &mut Command, folder: &Path, progress: Progress, transcript: &mut Transcript) -> Result<()> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (told, mut errors) = (child.stdout.take().context("no output")?, child.stderr.take().context("no errors")?);
    let mut log = File::create(folder.join("suite.log"))?;
    let mut error_log = File::create(folder.join("suite.err"))?;
    std::thread::scope(|scope| -> Result<()> {
        scope.spawn(move || std::io::copy(&mut errors, &mut error_log));
        for line in BufReader::new(told).split(b'\n') {
            let line = line?;
            log.write_all(&line)?;
            log.write_all(b"\n")?;
            if let Some(spec) = transcript.read_line(&String::from_utf8_lossy(&line)) {
                let (outcome, seconds, name) = (spec.outcome, spec.seconds, spec.name.clone());
                progress.say(format!("{} {:7} {seconds:6.1} s  {name}", transcript.count(), outcome.name()));
            }
        }
        Ok(())
    })?;
    let (status, log) = (child.wait()?, folder.join("suite.log"));
    if !status.success() && !transcript.specs.iter().any(|spec| spec.outcome == Outcome::Failed) {
        bail!("the suite ended early ({status}); see {}", log.display());
    }
    ensure!(!transcript.specs.is_empty(), "the suite ran nothing; see {}", log.display());
    Ok(())
}

fn results_folder(selection: &Selection, stack: &str) -> Result<PathBuf> {
    let folder = results_root()?.join(format!("{}-{stack}", file_name(&selection.name)));
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// The folder of all results.
pub fn results_root() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    Ok(target.map_or_else(|| repository().map(|root| root.join("target")), Ok)?.join("lab"))
}

fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not text", path.display()))
}
