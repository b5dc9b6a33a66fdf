//! A real Kubernetes on this machine: `cargo xtask lab`. What it is for and what it needs: `lab/README.md`.

mod assets;
mod cache;
mod certificates;
mod cgroups;
mod chart;
mod cluster;
mod compare;
mod conditions;
mod control_plane;
mod cost;
mod down;
mod fairway;
mod images;
mod load_balancer;
mod machine;
mod network;
mod node;
mod options;
mod packages;
mod probes;
mod process_table;
mod programs;
mod progress;
mod proxies;
mod reference;
mod report;
mod site;
mod stack;
mod statistics;
mod status;
mod storm;
mod suite;
mod takeover;
mod traces;
mod up;
mod versions;
mod workloads;

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result, bail};

use assets::Assets;
use cluster::Cluster;
use options::{Options, Scope};
use progress::Progress;
use site::{Families, Shape, Site};
use suite::Selection;

/// The lab of those who name none.
const DEFAULT_NAME: &str = "lab";

const HELP: &str = "\
usage: cargo xtask lab COMMAND [--name NAME]

  build                       builds Kubernetes, its suite and the images; what is built already is kept
  up                          brings a cluster up
      --nodes 2               with so many nodes
      --stack fairway         with this network: fairway, reference (bridge, kube-proxy, CoreDNS) or bare (none)
      --families dual         with IPv4 and IPv6
      --zones 3               spread over so many zones
      --image FILE            with Fairway's image from `cargo xtask image`; otherwise it is made
      --set NAME=VALUE        with this setting of Fairway, such as routing=vxlan; may be repeated
  load FILE                   gives the nodes an image, for a new build of Fairway
  status                      machines, services and nodes
  kubectl ...                 kubectl in the lab's network
  enter MACHINE [COMMAND]     a shell or a command on node-1, node-2, ... or control
  stop MACHINE SERVICE        ends a service of a machine for good
  signal MACHINE SERVICE 9    sends it a signal; a service that ends is started again
  helm ...                    helm, built from source, for checking charts
  suite conformance           Kubernetes' own suite; also: network, netpol, dual, topology, or words that specs' names contain
      --focus RE --skip RE    instead of the selection's own
  compare conformance         the same on both stacks, one after the other in labs of their own, and a table
      --image FILE            with Fairway's image from `cargo xtask image`; otherwise it is made
      -o json                 instead of the table
  cost                        measures the stack of a lab that is up
  compare cost                what the stacks use and how long they take
      --image FILE            with Fairway's image from `cargo xtask image`; otherwise it is made
  compare services            kube-proxy and Fairway's agent in turn on one node, with 1 000, 5 000 and 10 000 Services
      --sizes 1000,5000       with so many
      --image FILE, -o json   as above
  table conformance           the table of the last comparison, which is kept in lab/results
  storm                       kills every program of a lab with Fairway while pods ask each other all the time
      --rate 1000             each node's prober sends so many requests a second
      --seed N                in the order of an earlier storm
      --focus WORDS           only what is called so: \"agent\", \"etcd\", \"upgrade\", ...
      --upgrade FILE          upgrades to this image; otherwise to the same program with other bytes at its end
  load-balancer               reaches a Service of type LoadBalancer of a lab with Fairway from outside the cluster, and cuts
                              the power of the node that answers for it
  chart                       installs by the Helm chart on a lab with --stack bare, runs a few specs and removes it all
      --image FILE
  takeover pods               hands the pods over to Fairway too, node by node, on a lab with the reference stack
  takeover                    hands a lab with the reference stack over to Fairway and back while pods ask each other
      --rate 1000 --image FILE
  down                        removes everything `up` made

Several labs can be up at once under different names.";

/// Runs one command of the lab.
pub fn run(words: &[String]) -> Result<()> {
    let Some((command, rest)) = words.split_first() else { bail!("{HELP}") };
    let scope =
        if matches!(command.as_str(), "kubectl" | "enter" | "helm") { Scope::Before } else { Scope::Everywhere };
    let mut options = Options::parse(rest, scope)?;
    let site = Site::of_name(&options.take("name").unwrap_or_else(|| DEFAULT_NAME.to_owned()))?;
    match command.as_str() {
        "build" => options.finish(0).and_then(|_| Assets::build(Progress::begin())).map(|_| println!("all built")),
        "up" => up(&site, options),
        "down" => options.finish(0).and_then(|_| down::down(&site)),
        "status" => options.finish(0).and_then(|_| status::status(&site)),
        "kubectl" => become_command(Cluster::of(&site).command()?.args(options.finish(usize::MAX)?)),
        "load" => load(&site, &options.finish(1)?),
        "helm" => become_command(Command::new(assets::helm(Progress::begin())?).args(options.finish(usize::MAX)?)),
        "stop" | "signal" => act_on_service(&site, command, &options.finish(3)?),
        "enter" => {
            let words = options.finish(usize::MAX)?;
            let (machine, rest) = words.split_first().context("enter which machine?")?;
            become_command(&mut status::enter(&site, machine, rest)?)
        }
        "suite" => run_suite(&site, options),
        "cost" => options.finish(0).and_then(|_| cost::measure_site(&site)),
        "takeover" => takeover::TakeOver::of(options)?.run(&site),
        "storm" => storm::Storm::of(options)?.rage(&site),
        "chart" => chart(&site, options),
        "load-balancer" => options.finish(0).and_then(|_| load_balancer::check(&site)),
        "compare" => compare(options),
        "table" => table(options),
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        other => bail!("no command {other:?}\n{HELP}"),
    }
}

fn up(site: &Site, mut options: Options) -> Result<()> {
    let nodes = options.take("nodes").map_or(Ok(2), |text| text.parse()).context("--nodes takes a number")?;
    let stack = stack::Stack::of_name(&options.take("stack").unwrap_or_else(|| "fairway".to_owned()))?;
    let families = options.take("families").map_or(Ok(Families::default()), |name| Families::of_name(&name))?;
    let zones = options.take("zones").map_or(Ok(0), |text| text.parse()).context("--zones takes a number")?;
    let (archive, settings) = (options.take("image").map(std::path::PathBuf::from), options.take_all("set"));
    options.finish(0)?;
    let shape = Shape { settings, zones, ..Shape::new(nodes, stack, families)? };
    up::up(site, &shape, archive)?;
    up::say_what_next(site, &shape);
    Ok(())
}

fn chart(site: &Site, mut options: Options) -> Result<()> {
    let archive = options.take("image").map(std::path::PathBuf::from);
    options.finish(0)?;
    chart::try_out(site, archive.as_deref())
}

fn load(site: &Site, words: &[String]) -> Result<()> {
    let archive = words.first().context("load which archive?")?;
    let nodes = site.nodes(&site.read_shape()?);
    nodes.iter().try_for_each(|node| node::import_images(node, archive.as_ref()))
}

fn selection(mut options: Options) -> Result<Selection> {
    let (focus, skip) = (options.take("focus"), options.take("skip"));
    let words = options.finish(1)?;
    let name = words.first().context("which suite? conformance, network, netpol or part of specs' names")?;
    Ok(Selection::of_name(name, focus, skip))
}

fn compare(mut options: Options) -> Result<()> {
    let archive = options.take("image").map(std::path::PathBuf::from);
    let form = options::take_form(&mut options)?;
    if options.first_word() == Some("services") {
        return proxies::Comparison::of(options, form, archive)?.run();
    }
    let selection = selection(options)?;
    match selection.name.as_str() {
        "cost" => cost::compare(archive.as_deref()),
        _ => compare::run(&selection, archive.as_deref(), form),
    }
}

fn table(mut options: Options) -> Result<()> {
    let form = options::take_form(&mut options)?;
    let selection = selection(options)?;
    match selection.name.as_str() {
        "cost" => cost::print(),
        "services" => proxies::print(form),
        _ => compare::print(&selection, form),
    }
}

fn run_suite(site: &Site, options: Options) -> Result<()> {
    let report = suite::run(site, &selection(options)?)?;
    println!("\n{report}\nJUnit and log: {}", suite::folder_of(&report)?.display());
    report.verdict()
}

fn act_on_service(site: &Site, action: &str, words: &[String]) -> Result<()> {
    match (action, words) {
        ("stop", [machine, service]) => status::machine_of_name(site, machine)?.stop(service),
        ("signal", [machine, service, number]) => {
            let number = number.parse().context("a signal is a number")?;
            status::machine_of_name(site, machine)?.signal(service, number)
        }
        _ => bail!("{HELP}"),
    }
}

/// Puts a command in the place of this one: its terminal, its exit status.
fn become_command(command: &mut Command) -> Result<()> {
    Err(command.exec()).context("cannot run it")
}
