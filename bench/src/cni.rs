//! Attaching containers and detaching them, by Fairway's plugin and by Debian's bridge with host-local.
//!
//! A call is a process, as a container runtime makes it; namespaces are made beforehand. The plugins take turns, call by
//! call, in one network namespace of their own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use datapath::{Netns, netns};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Uid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::figures::Series;

/// What to measure.
#[derive(Debug, Args)]
pub struct CniArgs {
    /// How many containers are attached one after the other.
    #[arg(long, default_value_t = 200)]
    calls: usize,
    /// How many containers are attached at once.
    #[arg(long, default_value_t = 50)]
    burst: usize,
    /// How often that many are attached at once.
    #[arg(long, default_value_t = 5)]
    bursts: usize,
    /// Fairway's plugin; by default the `fairway` beside this program.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where the peer's plugins are.
    #[arg(long, default_value = "/usr/lib/cni")]
    peers: PathBuf,
}

/// A plugin with its network.
struct Plugin {
    name: &'static str,
    program: PathBuf,
    search: PathBuf,
    config: Value,
    figures: Figures,
}

#[derive(Default)]
struct Figures {
    add: Series,
    delete: Series,
    add_burst: Series,
    delete_burst: Series,
}

/// Measures and prints.
pub fn run(args: &CniArgs) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("fwbench").tempdir()?;
    let mut plugins = plugins(args, &folder)?;
    isolate()?;
    for number in 0..args.calls {
        for plugin in &mut plugins {
            measure_one(plugin, &folder.path().join(format!("one-{}-{number}", plugin.name)))?;
        }
    }
    for number in 0..args.bursts {
        for plugin in &mut plugins {
            measure_burst(plugin, folder.path(), args.burst, number)?;
        }
    }
    print(args, &plugins);
    Ok(())
}

fn plugins(args: &CniArgs, folder: &TempDir) -> Result<[Plugin; 2]> {
    let beside = || Ok::<_, anyhow::Error>(std::env::current_exe()?.with_file_name("fairway"));
    let binary = args.binary.clone().map_or_else(beside, Ok)?;
    ensure!(binary.exists(), "{} is missing; build it with: cargo build --release", binary.display());
    let bridge = args.peers.join("bridge");
    ensure!(bridge.exists(), "{} is missing; Debian has it in containernetworking-plugins", bridge.display());
    let network = |name: &str| json!({ "cniVersion": "1.0.0", "name": name });
    let mut ours = network("ours");
    ours["type"] = "fairway".into();
    ours["ipam"] = json!({ "ranges": ["10.201.0.0/22"] });
    ours["stateDir"] = folder.path().join("state").display().to_string().into();
    let mut peer = network("peer");
    peer["type"] = "bridge".into();
    peer["bridge"] = "peer0".into();
    peer["isGateway"] = true.into();
    peer["ipam"] = json!({
        "type": "host-local", "dataDir": folder.path().join("host-local"),
        "ranges": [[{ "subnet": "10.202.0.0/22" }]], "routes": [{ "dst": "0.0.0.0/0" }],
    });
    let plugin = |name, program, config| Plugin {
        name,
        program,
        search: args.peers.clone(),
        config,
        figures: Figures::default(),
    };
    Ok([plugin("fairway", binary, ours), plugin("bridge", bridge, peer)])
}

/// Leaves for namespaces of this program's own, in which it is root; nothing of what follows reaches the machine.
fn isolate() -> Result<()> {
    let (user, group) = (Uid::effective(), nix::unistd::Gid::effective());
    let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    if user.is_root() {
        unshare(own).context("cannot make namespaces")?;
    } else {
        unshare(own | CloneFlags::CLONE_NEWUSER).context("cannot make namespaces")?;
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    }
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    Ok(())
}

fn measure_one(plugin: &mut Plugin, path: &Path) -> Result<()> {
    let _netns = Netns::create_at(path)?;
    let begun = Instant::now();
    plugin.finish(plugin.start("ADD", path)?)?;
    plugin.figures.add.push(begun.elapsed());
    let begun = Instant::now();
    plugin.finish(plugin.start("DEL", path)?)?;
    plugin.figures.delete.push(begun.elapsed());
    Ok(netns::remove(path)?)
}

fn measure_burst(plugin: &mut Plugin, folder: &Path, count: usize, number: usize) -> Result<()> {
    let paths: Vec<PathBuf> =
        (0..count).map(|index| folder.join(format!("many-{}-{number}-{index}", plugin.name))).collect();
    let spaces: Vec<Netns> = paths.iter().map(|path| Netns::create_at(path)).collect::<Result<_, _>>()?;
    let all = |command| -> Result<Duration> {
        let begun = Instant::now();
        let children: Vec<Child> = paths.iter().map(|path| plugin.start(command, path)).collect::<Result<_>>()?;
        children.into_iter().try_for_each(|child| plugin.finish(child))?;
        Ok(begun.elapsed())
    };
    let (added, deleted) = (all("ADD")?, all("DEL")?);
    plugin.figures.add_burst.push(added);
    plugin.figures.delete_burst.push(deleted);
    drop(spaces);
    paths.iter().try_for_each(|path| Ok(netns::remove(path)?))
}

impl Plugin {
    fn start(&self, command: &str, netns: &Path) -> Result<Child> {
        let container = netns.file_name().unwrap_or_default();
        let mut child = Command::new(&self.program)
            .env_clear()
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", container)
            .env("CNI_NETNS", netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &self.search)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(self.config.to_string().as_bytes())?;
        Ok(child)
    }

    fn finish(&self, child: Child) -> Result<()> {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("{} failed: {}", self.name, String::from_utf8_lossy(&output.stdout));
        }
        Ok(())
    }
}

fn print(args: &CniArgs, [ours, peer]: &[Plugin; 2]) {
    println!("{:<28} {:>12} {:>22} {:>7}", "", "Fairway", "bridge + host-local", "ratio");
    let line = |what: &str, of: &dyn Fn(&Figures) -> Duration| {
        let [a, b] = [ours, peer].map(|plugin| of(&plugin.figures).as_secs_f64() * 1000.0);
        println!("{what:<28} {a:>9.2} ms {b:>19.2} ms {:>7.1}", b / a);
    };
    line("ADD, median", &|figures| figures.add.median());
    line("ADD, 99th percentile", &|figures| figures.add.percentile(99));
    line("DEL, median", &|figures| figures.delete.median());
    line("DEL, 99th percentile", &|figures| figures.delete.percentile(99));
    line(&format!("{} ADD at once, median", args.burst), &|figures| figures.add_burst.median());
    line(&format!("{} DEL at once, median", args.burst), &|figures| figures.delete_burst.median());
    println!("{} calls one by one, {} times {} at once, in turns", args.calls, args.bursts, args.burst);
}
