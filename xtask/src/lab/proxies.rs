//! kube-proxy and Fairway's agent on one node, taking turns on the same Services.

mod contender;
mod load;
mod round;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::assets::{Assets, repository};
use super::certificates::{ADMINISTRATOR, Authority};
use super::cluster::Cluster;
use super::compare::in_new_lab;
use super::conditions::Conditions;
use super::fairway;
use super::options::{Form, Options};
use super::programs::Programs;
use super::progress::Progress;
use super::reference::PROXY;
use super::site::{Families, Node, Shape, Site};
use super::stack::Stack;
use contender::Contender;
use load::Load;
use round::Round;

/// How many Services there are, one after the other.
const SIZES: [usize; 3] = [1_000, 5_000, 10_000];
/// How often each of the two has its turn at a size; the first does not always begin.
const ROUNDS: usize = 3;

/// What is to be compared.
pub struct Comparison {
    sizes: Vec<usize>,
    archive: Option<PathBuf>,
    form: Form,
}

/// What was measured.
#[derive(Serialize, Deserialize)]
struct Measured {
    conditions: Conditions,
    sizes: Vec<Sized>,
}

/// What was measured with so many Services.
#[derive(Serialize, Deserialize)]
struct Sized {
    services: usize,
    reference: Vec<Round>,
    fairway: Vec<Round>,
}

/// What a measurement works on.
struct Bench<'a> {
    cluster: Cluster,
    node: Node,
    programs: &'a Programs,
    authority: Authority,
    progress: Progress,
}

impl Comparison {
    /// What the command line asks for.
    pub fn of(mut options: Options, form: Form, archive: Option<PathBuf>) -> Result<Self> {
        let sizes = options.take("sizes").map_or(Ok(SIZES.to_vec()), |text| parse_sizes(&text))?;
        options.finish(1)?;
        Ok(Self { sizes, archive, form })
    }

    /// Measures in a lab of one node, and prints the table.
    pub fn run(self) -> Result<()> {
        let shape = Shape::new(1, Stack::Reference, Families::Ipv4)?;
        let measured = in_new_lab("proxies", &shape, None, |site| self.measure(site))?;
        let path = path()?;
        fs::write(&path, serde_json::to_vec_pretty(&measured)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        show(&measured, self.form)
    }

    fn measure(&self, site: &Site) -> Result<Measured> {
        let (progress, conditions) = (Progress::begin(), Conditions::read()?);
        let (assets, nodes) = (Assets::build(progress)?, site.nodes(&site.read_shape()?));
        let program = fairway::bring(site, &[], self.archive.as_deref(), progress)?;
        let bench = Bench {
            cluster: Cluster::of(site),
            node: nodes.into_iter().next().context("a lab without nodes")?,
            programs: &assets.programs,
            authority: Authority::open(site.folder.join("certificates")),
            progress,
        };
        let contenders = [Contender::kube_proxy(&bench), Contender::fairway(&bench, site, program)];
        // Its own Services and pods must not take the processor from whoever is measured.
        bench.cluster.kubectl(&["-n", "kube-system", "scale", "deployment", "coredns", "--replicas=0"])?;
        let mut load = Load::begin(&bench)?;
        bench.node.machine.stop(PROXY)?;
        contenders[0].clear(&bench)?;
        let sizes = self.sizes.iter().map(|size| measure_size(&bench, &contenders, &mut load, *size));
        Ok(Measured { conditions, sizes: sizes.collect::<Result<_>>()? })
    }
}

/// Prints the last comparison that was kept.
pub fn print(form: Form) -> Result<()> {
    let path = path()?;
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let measured = serde_json::from_slice(&text).with_context(|| format!("{} is no measurement", path.display()))?;
    show(&measured, form)
}

fn measure_size(bench: &Bench<'_>, contenders: &[Contender; 2], load: &mut Load, services: usize) -> Result<Sized> {
    load.grow(bench, services)?;
    let mut rounds = [Vec::new(), Vec::new()];
    for number in 0..ROUNDS {
        for turn in [number % 2, (number + 1) % 2] {
            let round = round::measure(bench, &contenders[turn], load)?;
            bench.progress.say(format!("{services} Services, {}: {round}", contenders[turn].name()));
            rounds[turn].push(round);
        }
    }
    let [reference, fairway] = rounds;
    Ok(Sized { services, reference, fairway })
}

fn show(measured: &Measured, form: Form) -> Result<()> {
    match form {
        Form::Table => println!("{}\n\n{}", table::table(&measured.sizes), measured.conditions),
        Form::Json => println!("{:#}", serde_json::to_value(measured)?),
    }
    Ok(())
}

fn path() -> Result<PathBuf> {
    Ok(repository()?.join("lab/results/services.json"))
}

fn parse_sizes(text: &str) -> Result<Vec<usize>> {
    let sizes: Vec<usize> =
        text.split(',').map(str::parse).collect::<Result<_, _>>().context("--sizes takes numbers")?;
    ensure!(
        sizes.is_sorted() && sizes.iter().all(|size| (1..=load::MOST).contains(size)),
        "--sizes grow, to {}",
        load::MOST
    );
    Ok(sizes)
}

/// A client's certificate in files, as programs take it.
fn client_files(authority: &Authority) -> [PathBuf; 3] {
    [authority.root(), authority.certificate(ADMINISTRATOR), authority.key(ADMINISTRATOR)]
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not text", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow() {
        assert_eq!(parse_sizes("10,200").unwrap(), [10, 200]);
        for wrong in ["200,10", "0", "x", "1000000"] {
            parse_sizes(wrong).unwrap_err();
        }
    }
}
