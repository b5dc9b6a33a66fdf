//! Attaching containers and detaching them, by Fairway's plugin and by Debian's bridge with host-local.
//!
//! A call is a process, as a container runtime makes it; namespaces are made beforehand. The plugins take turns, call by
//! call, in one network namespace of their own.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use datapath::{Netns, netns};
use tempfile::TempDir;

use crate::figures::Series;
use crate::namespaces::isolate;
use crate::plugin::{Plugin, Programs};

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
    #[command(flatten)]
    programs: Programs,
}

/// A plugin and what was measured of it.
struct Measured {
    plugin: Plugin,
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
    let mut both = plugins(args, &folder)?;
    isolate()?;
    for number in 0..args.calls {
        for measured in &mut both {
            measure_one(measured, &folder.path().join(format!("one-{}-{number}", measured.plugin.name)))?;
        }
    }
    for number in 0..args.bursts {
        for measured in &mut both {
            measure_burst(measured, folder.path(), args.burst, number)?;
        }
    }
    print(args, &both);
    Ok(())
}

fn plugins(args: &CniArgs, folder: &TempDir) -> Result<[Measured; 2]> {
    let ours = args.programs.fairway("10.201.0.0/22", &folder.path().join("state"))?;
    let peer = args.programs.bridge("10.202.0.0/22", &folder.path().join("host-local"))?;
    Ok([ours, peer].map(|plugin| Measured { plugin, figures: Figures::default() }))
}

fn measure_one(Measured { plugin, figures }: &mut Measured, path: &Path) -> Result<()> {
    let _netns = Netns::create_at(path)?;
    let begun = Instant::now();
    plugin.finish(plugin.start("ADD", path)?)?;
    figures.add.push(begun.elapsed());
    let begun = Instant::now();
    plugin.finish(plugin.start("DEL", path)?)?;
    figures.delete.push(begun.elapsed());
    Ok(netns::remove(path)?)
}

fn measure_burst(measured: &mut Measured, folder: &Path, count: usize, number: usize) -> Result<()> {
    let Measured { plugin, figures } = measured;
    let paths: Vec<PathBuf> =
        (0..count).map(|index| folder.join(format!("many-{}-{number}-{index}", plugin.name))).collect();
    let spaces: Vec<Netns> = paths.iter().map(|path| Netns::create_at(path)).collect::<Result<_, _>>()?;
    let all = |command| -> Result<Duration> {
        let begun = Instant::now();
        let children: Vec<Child> = paths.iter().map(|path| plugin.start(command, path)).collect::<Result<_>>()?;
        children.into_iter().try_for_each(|child| plugin.finish(child).map(drop))?;
        Ok(begun.elapsed())
    };
    let (added, deleted) = (all("ADD")?, all("DEL")?);
    figures.add_burst.push(added);
    figures.delete_burst.push(deleted);
    drop(spaces);
    paths.iter().try_for_each(|path| Ok(netns::remove(path)?))
}

fn print(args: &CniArgs, [ours, peer]: &[Measured; 2]) {
    println!("{:<28} {:>12} {:>22} {:>7}", "", "Fairway", "bridge + host-local", "ratio");
    let line = |what: &str, of: &dyn Fn(&Figures) -> Duration| {
        let [a, b] = [ours, peer].map(|measured| of(&measured.figures).as_secs_f64() * 1000.0);
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
