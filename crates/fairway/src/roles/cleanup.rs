//! Clearing a node: everything the agent and the plugin leave there on purpose, so that they can be killed at any time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use compile::ruleset::{Operation, TABLE};
use datapath::nft::Table;
use datapath::route::{Link, RouteFilter, Rtnetlink};

use nix::errno::Errno;

use super::agent::{CONFIGURATION, PLUGIN};
use super::last_words;

/// Options of the clean-up.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example, on a node where no agent runs any more:
  fairway cleanup")]
pub struct CleanupArgs {
    /// Directory of CNI plugins.
    #[arg(long, value_name = "DIR", env = "FAIRWAY_CNI_BIN_DIR", default_value = "/opt/cni/bin")]
    cni_bin_dir: PathBuf,
    /// Directory of CNI configurations.
    #[arg(long, value_name = "DIR", env = "FAIRWAY_CNI_CONF_DIR", default_value = "/etc/cni/net.d")]
    cni_conf_dir: PathBuf,
    /// Directory of the addresses given to pods.
    #[arg(long, value_name = "DIR", env = "FAIRWAY_CNI_STATE_DIR", default_value = cni::STATE_DIR)]
    cni_state_dir: PathBuf,
}

/// Removes all of it from this node, and says what there was. What fails stops nothing else.
pub fn run(args: &CleanupArgs) -> Result<()> {
    // The configuration goes first: from then on the runtime starts no pod with a network that is being taken apart.
    let steps = [
        remove_file(&args.cni_conf_dir.join(CONFIGURATION)),
        remove_table(),
        remove_limits(),
        remove_links(),
        remove_routes(),
        remove_file(&args.cni_bin_dir.join(PLUGIN)),
        remove_drafts(&args.cni_bin_dir, PLUGIN),
        remove_drafts(&args.cni_conf_dir, CONFIGURATION),
        remove_directory(&args.cni_state_dir),
    ];
    let (mut removed, mut failures) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Ok(Some(what)) => removed.push(what),
            Ok(None) => {}
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    let removed =
        if removed.is_empty() { "nothing was left".to_owned() } else { format!("removed {}", removed.join(", ")) };
    say!("{removed}");
    if failures.is_empty() {
        return last_words::leave(&removed);
    }
    last_words::leave(&format!("{removed}; failed: {}", failures.join("; ")))?;
    bail!("{}", failures.join("; "))
}

fn remove_file(path: &Path) -> Result<Option<String>> {
    removal(fs::remove_file(path), path)
}

/// Removes what an agent left that was killed while it wrote a file: the file under another name.
fn remove_drafts(directory: &Path, name: &str) -> Result<Option<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.with_context(|| format!("cannot read {}", directory.display()))?,
    };
    let mut removed = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", directory.display()))?;
        if is_draft(&entry.file_name().to_string_lossy(), name) {
            removed.extend(remove_file(&entry.path())?);
        }
    }
    Ok((!removed.is_empty()).then(|| removed.join(", ")))
}

/// Whether a file is called as `pod_network::files` calls what becomes `name`.
fn is_draft(file: &str, name: &str) -> bool {
    let process = file.strip_prefix(&format!(".{name}.")).and_then(|rest| rest.strip_suffix(".new"));
    process.is_some_and(|process| process.parse::<u32>().is_ok())
}

fn remove_directory(path: &Path) -> Result<Option<String>> {
    removal(fs::remove_dir_all(path), path)
}

fn removal(outcome: io::Result<()>, path: &Path) -> Result<Option<String>> {
    match outcome {
        Ok(()) => Ok(Some(path.display().to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}

fn remove_table() -> Result<Option<String>> {
    // Not listed before: it goes whatever is in it, and however busy nf_tables is.
    match Table::open()?.apply(&[Operation::DeleteTable]) {
        Ok(_) => Ok(Some(format!("table inet {TABLE}"))),
        Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Lifts our limits from interfaces of other plugins. What redirects to one of our interfaces must go before that: it
/// would drop all it gets.
fn remove_limits() -> Result<Option<String>> {
    let mut kernel = Rtnetlink::open()?;
    let (ours, others): (Vec<Link>, Vec<Link>) = kernel.links()?.into_iter().partition(Link::is_ours);
    let mut freed = 0;
    for link in others {
        let to = kernel.redirection(link.index)?;
        let is_ours = to.is_some_and(|to| ours.iter().any(|link| link.index == to));
        let is_redirected = is_ours && kernel.stop_redirecting(link.index)?;
        let is_limited = kernel.unlimit_rate(link.index)?;
        freed += usize::from(is_redirected || is_limited);
    }
    Ok((freed > 0).then(|| format!("the limits of {freed} other interfaces")))
}

/// Removes every interface that is marked as ours; the pods' ends go with them.
fn remove_links() -> Result<Option<String>> {
    let mut kernel = Rtnetlink::open()?;
    let mut removed = 0;
    for link in kernel.links()?.into_iter().filter(Link::is_ours) {
        removed += usize::from(kernel.delete_link(link.index)?);
    }
    Ok((removed > 0).then(|| format!("{removed} interfaces")))
}

fn remove_routes() -> Result<Option<String>> {
    let mut kernel = Rtnetlink::open()?;
    let mut removed = 0;
    for route in kernel.routes(RouteFilter::Ours)? {
        removed += usize::from(kernel.delete_route(&route)?);
    }
    Ok((removed > 0).then(|| format!("{removed} routes")))
}

#[cfg(test)]
mod tests {
    use compile::{NodeView, Plan};
    use datapath::route::{LinkIndex, RateLimit, Route, Veth, VethEnd};
    use datapath::testing::isolated;
    use datapath::{Datapath, Wanted};
    use model::Cluster;

    use super::*;

    /// A node with something of everything, and one thing that is not ours.
    fn furnish(root: &Path) -> CleanupArgs {
        let args = CleanupArgs {
            cni_bin_dir: root.join("bin"),
            cni_conf_dir: root.join("net.d"),
            cni_state_dir: root.join("state"),
        };
        for directory in [&args.cni_bin_dir, &args.cni_conf_dir, &args.cni_state_dir] {
            fs::create_dir(directory).unwrap();
        }
        fs::write(args.cni_bin_dir.join(PLUGIN), "").unwrap();
        fs::write(args.cni_bin_dir.join("bridge"), "").unwrap();
        fs::write(args.cni_bin_dir.join(format!(".{PLUGIN}.4711.new")), "").unwrap();
        fs::write(args.cni_bin_dir.join(format!(".{PLUGIN}.other.new")), "").unwrap();
        fs::write(args.cni_conf_dir.join(CONFIGURATION), "").unwrap();
        fs::write(args.cni_state_dir.join("10.244.1.5"), "").unwrap();
        let plan = Plan::of(NodeView::new("node1"), &Cluster::default());
        Datapath::open().unwrap().apply(&Wanted::from(&plan)).unwrap();
        args
    }

    fn add_links(kernel: &mut Rtnetlink) -> LinkIndex {
        let end = |name| VethEnd { name, mac: None, netns: None };
        for (name, peer) in [("fw0", "pod0"), ("other0", "other1")] {
            kernel.create_veth(&Veth { end: end(name), peer: end(peer), mtu: 1500 }).unwrap();
        }
        let ours = kernel.require_link("fw0").unwrap().index;
        kernel.mark_as_ours(ours, "pod").unwrap();
        kernel.require_link("other0").unwrap().index
    }

    #[test]
    fn a_node_is_cleared_of_what_is_ours_and_nothing_else() {
        isolated(|| {
            let root = tempfile::tempdir().unwrap();
            let args = furnish(root.path());
            let mut kernel = Rtnetlink::open().unwrap();
            let other = add_links(&mut kernel);
            kernel.set_up(other).unwrap();
            kernel.add_route(&Route::on_link("10.244.2.0/24".parse().unwrap(), other).ours()).unwrap();
            kernel.add_route(&Route::on_link("10.9.0.0/24".parse().unwrap(), other)).unwrap();
            run(&args).unwrap();
            assert!(Table::open().unwrap().read().unwrap().is_none());
            assert_eq!(kernel.routes(RouteFilter::Ours).unwrap(), []);
            assert!(kernel.link("fw0").unwrap().is_none());
            assert!(!args.cni_state_dir.exists());
            assert_eq!(fs::read_dir(&args.cni_conf_dir).unwrap().count(), 0);
            assert!(!args.cni_bin_dir.join(format!(".{PLUGIN}.4711.new")).exists());
            assert!(args.cni_bin_dir.join(format!(".{PLUGIN}.other.new")).exists());
            assert!(kernel.link("other0").unwrap().is_some() && args.cni_bin_dir.join("bridge").exists());
            assert!(
                kernel
                    .routes(RouteFilter::Main)
                    .unwrap()
                    .iter()
                    .any(|route| route.destination.to_string() == "10.9.0.0/24")
            );
            run(&args).unwrap();
        });
    }

    #[test]
    fn interfaces_of_others_carry_what_they_did_before_they_were_limited() {
        isolated(|| {
            let root = tempfile::tempdir().unwrap();
            let args = furnish(root.path());
            let mut kernel = Rtnetlink::open().unwrap();
            let other = add_links(&mut kernel);
            let limit = RateLimit { bytes_per_second: 1_000_000, burst_bytes: 65_536 };
            let detour = kernel.create_ifb("fwb0").unwrap().index;
            kernel.mark_as_ours(detour, "a detour").unwrap();
            kernel.limit_rate(other, limit).unwrap();
            kernel.redirect_received(other, detour).unwrap();
            assert_eq!(kernel.redirection(other).unwrap(), Some(detour));
            run(&args).unwrap();
            assert_eq!((kernel.redirection(other).unwrap(), kernel.rate_limit(other).unwrap()), (None, None));
        });
    }

    #[test]
    fn what_cannot_be_removed_is_told_and_stops_nothing_else() {
        isolated(|| {
            let root = tempfile::tempdir().unwrap();
            let args = furnish(root.path());
            let configuration = args.cni_conf_dir.join(CONFIGURATION);
            fs::remove_file(&configuration).unwrap();
            fs::create_dir(&configuration).unwrap();
            let error = run(&args).unwrap_err().to_string();
            assert!(error.contains("05-fairway.conflist"), "{error}");
            assert!(!args.cni_bin_dir.join(PLUGIN).exists() && !args.cni_state_dir.exists());
        });
    }
}
