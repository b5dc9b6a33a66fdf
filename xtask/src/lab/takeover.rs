//! Taking Services and names over from the reference stack and handing them back, as `docs/take-over.md` has it, while pods
//! ask each other all the time. And taking the pods over as well, node by node.

mod pods;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::assets::Assets;
use super::cluster::{Cluster, list};
use super::machine::Inside;
use super::options::Options;
use super::probes::{Probes, Verdict};
use super::programs::Programs;
use super::progress::{Progress, wait_for};
use super::reference::{PROXY, PROXY_TABLES, start_proxy};
use super::site::{Node, Site};
use super::stack::Stack;
use super::traces::Traces;
use super::{fairway, options};
use crate::process::run;

/// Time after a step, for what it may have broken.
const CALM: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(120);
/// The pods keep the network they have.
const WITHOUT_PODS: [&str; 3] = ["install", "--set", "cni.enabled=false"];
const WITHOUT_DNS: [&str; 4] = ["--set", "dns.enabled=false", "--set", "dns.service=false"];

/// How it is to be done.
pub struct TakeOver {
    /// The pods too, not only Services and names.
    pods: bool,
    rate: usize,
    archive: Option<PathBuf>,
}

/// What the steps work on.
struct Ground {
    site: Site,
    cluster: Cluster,
    nodes: Vec<Node>,
    programs: Programs,
    /// Fairway's.
    program: PathBuf,
}

/// One step: its name, and what is done.
type Step = (&'static str, fn(&Ground) -> Result<()>);

/// The way there and back.
const STEPS: [Step; 7] = [
    ("fairway install, pods stay with the bridge plugin", |ground| ground.fairway(&WITHOUT_PODS)),
    ("CoreDNS scaled to none", |ground| ground.scale_core_dns(0)),
    ("kube-proxy stopped, its tables deleted", Ground::stop_proxy),
    ("kube-proxy started", Ground::start_proxy),
    ("CoreDNS scaled to two", |ground| ground.scale_core_dns(2)),
    ("fairway install without DNS", |ground| ground.fairway(&[&WITHOUT_PODS[..], &WITHOUT_DNS].concat())),
    ("fairway uninstall", |ground| ground.fairway(&["uninstall"])),
];

impl TakeOver {
    /// What the command line asks for.
    pub fn of(mut options: Options) -> Result<Self> {
        let (rate, archive) = (options::take_rate(&mut options)?, options.take("image").map(PathBuf::from));
        let words = options.finish(1)?;
        ensure!(words.iter().all(|word| word == "pods"), "lab takeover, or lab takeover pods");
        Ok(Self { pods: !words.is_empty(), rate, archive })
    }

    /// Does it; an error if a request was lost, if that could not be told, or if something of Fairway's stays.
    pub fn run(self, site: &Site) -> Result<()> {
        let shape = site.read_shape()?;
        ensure!(shape.stack == Stack::Reference, "taking over is for a lab with --stack reference");
        let progress = Progress::begin();
        let (nodes, programs) = (site.nodes(&shape), Assets::build(progress)?.programs);
        let program = fairway::bring(site, &nodes, self.archive.as_deref(), progress)?;
        let ground = Ground { site: site.clone(), cluster: Cluster::of(site), nodes, programs, program };
        if self.pods { pods::take_over(&ground, progress) } else { self.there_and_back(&ground, progress) }
    }

    fn there_and_back(&self, ground: &Ground, progress: Progress) -> Result<()> {
        let before = ground.traces()?;
        let probes = Probes::start(&ground.cluster, &ground.nodes, self.rate)?;
        let mut wrong = Vec::new();
        for (name, act) in STEPS {
            let findings = probes.during(&[], CALM, || act(ground)).with_context(|| name.to_owned())?;
            progress.say(format!("{name}: {}", findings.summary));
            match findings.verdict {
                Verdict::Clean => {}
                Verdict::Lost(lines) => wrong.extend(lines.iter().map(|line| format!("{name}: {line}"))),
                Verdict::Unclear => wrong.push(format!("{name}: the machine had too little time for a verdict")),
            }
        }
        probes.end()?;
        for (node, (before, after)) in ground.nodes.iter().zip(before.iter().zip(ground.traces()?)) {
            wrong.extend(after.beyond(before).into_iter().map(|line| format!("left on {}: {line}", node.name())));
        }
        wrong.iter().for_each(|line| println!("wrong: {line}"));
        ensure!(wrong.is_empty(), "{} things went wrong", wrong.len());
        println!("there and back: no request lost, and no interface, rule, route, file or mount left");
        Ok(())
    }
}

impl Ground {
    fn fairway(&self, words: &[&str]) -> Result<()> {
        fairway::command(&self.site, &self.program, words).map(|_| ())
    }

    fn traces(&self) -> Result<Vec<Traces>> {
        self.nodes.iter().map(Traces::read).collect()
    }

    fn scale_core_dns(&self, replicas: usize) -> Result<()> {
        let replicas_word = format!("--replicas={replicas}");
        self.cluster.kubectl(&["-n", "kube-system", "scale", "deployment", "coredns", &replicas_word])?;
        let chosen = ["get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns,app.kubernetes.io/part-of!=fairway"];
        wait_for(format_args!("{replicas} pods of CoreDNS"), LIMIT, || {
            let pods = self.cluster.read(&chosen)?;
            let is_ready = |pod| super::cluster::has_condition(pod, "Ready");
            let ready = list(&pods).filter(|pod| is_ready(pod)).count();
            Ok((ready == replicas && list(&pods).count() == replicas).then_some(()))
        })
    }

    fn stop_proxy(&self) -> Result<()> {
        self.nodes.iter().try_for_each(|node| {
            node.machine.stop(PROXY)?;
            let delete =
                |family| run(node.machine.command(Inside::Network, "nft")?.args(["delete", "table", family, PROXY]));
            PROXY_TABLES.into_iter().try_for_each(delete)
        })
    }

    fn start_proxy(&self) -> Result<()> {
        for node in &self.nodes {
            start_proxy(node, &self.programs)?;
            wait_for(format_args!("kube-proxy's rules on {}", node.name()), LIMIT, || {
                let mut chain = node.machine.command(Inside::Network, "nft")?;
                run(chain.args(["list", "chain", PROXY_TABLES[0], PROXY, "services"])).map(Some)
            })?;
        }
        Ok(())
    }
}
