//! Commands for a real cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::SignedDuration;

use super::Output;

/// Which cluster: as kubectl has it.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// Kubeconfig file; without it, $KUBECONFIG or ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig, if not its current one.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// What is set, and how.
#[derive(Debug, Args)]
pub struct SettingsArgs {
    /// A setting, as in the Helm chart's values; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// File of settings, in the form of the Helm chart's values.
    #[arg(short = 'f', long, value_name = "FILE")]
    pub values: Option<PathBuf>,
}

/// `fairway install`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fairway check --pre                         what is in the way, before anything is changed
  fairway install --dry-run | kubectl diff -f -
  fairway install --context prod
  fairway install --set apiHost=10.0.0.1 --set apiPort=6443 --set image.repository=registry.example.com/fairway

What is not set is found out: the API server's address from the kubeconfig (or from the endpoints of the Service
kubernetes, if the kubeconfig says loopback), the DNS server's from the Service kube-dns. Installing again applies
what changed and nothing else; a new version is installed the same way.")]
pub struct InstallArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Print the objects and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Form in which --dry-run prints.
    #[arg(short, long, value_enum, default_value_t, requires = "dry_run")]
    pub output: ManifestFormat,
    /// How long everything may take to be ready, as in 90s or 5m.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// `fairway uninstall`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fairway uninstall --dry-run
  fairway uninstall

Removes Fairway's objects, and from every node its interfaces, routes, nf_tables table, CNI configuration, plugin and
address files. Pods that run keep running without a network until another plugin is installed and they are made again.")]
pub struct UninstallArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Say what would be removed and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// How long the nodes may take, as in 90s or 5m.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// `fairway check`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fairway check --pre             before an installation: what the cluster offers and what is in the way
  fairway check                   an installation: agents, DNS, and the same again
  fairway check -o json | jq -r '.findings[].code'
  fairway explain FW0112          what a code means

Run on a node of the cluster, it looks at that node as well. Exit codes: 0 fine, 1 findings, 2 usage, 3 could not tell.")]
pub struct CheckArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Only what matters before an installation.
    #[arg(long)]
    pub pre: bool,
    /// Directory in which this node's CNI plugin keeps what it remembers between calls.
    #[arg(long, value_name = "DIR", env = "FAIRWAY_CNI_STATE_DIR", default_value = cni::STATE_DIR)]
    pub state_dir: PathBuf,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `fairway explain`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fairway explain FW0112
  fairway explain              every code")]
pub struct ExplainArgs {
    /// Code of a finding; without it, all of them are listed.
    #[arg(value_name = "CODE")]
    pub code: Option<String>,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// How objects are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ManifestFormat {
    /// YAML documents, as kubectl takes them.
    #[default]
    Yaml,
    /// One JSON List, as kubectl takes it.
    Json,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<SignedDuration, _> = text.parse();
    let duration = parsed.map_err(|_| "a time looks like 90s or 5m")?;
    Duration::try_from(duration).map_err(|_| "a time cannot be negative".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        for wrong in ["soon", "-1s", "5"] {
            parse_duration(wrong).unwrap_err();
        }
    }
}
