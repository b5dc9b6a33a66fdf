//! Services in the kernel: cold sync, restart, one change and the first packet of connections at different sizes, beside the same Services as one chain
//! each written with `nft`, and as rules of `iptables`: kube-proxy's two shapes and ways.
//!
//! The peers are favoured: for Fairway everything counts from the snapshot to the kernel's acknowledgement, for a peer
//! only its program with a text made beforehand. Every case runs in a process and a network namespace of its own; at last
//! connections are made in all of them in turns.

mod apart;
mod case;
mod chains;
mod connects;
mod feed;
mod flat;
mod iptables;
mod report;

use std::fmt;

use anyhow::Result;
use clap::{Args, ValueEnum};

use apart::{Apart, Outcome};
use case::Size;

/// How often connections are made in every case.
const CONNECT_ROUNDS: u32 = 20;

/// What to measure.
#[derive(Debug, Args)]
pub struct ServicesArgs {
    /// How many Services.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000])]
    sizes: Vec<u32>,
    /// How many endpoints each.
    #[arg(long, default_value_t = 5)]
    endpoints: u32,
    /// How often a single change is made.
    #[arg(long, default_value_t = 5)]
    repeats: u32,
    /// The peers; chains take minutes at 10000 Services.
    #[arg(long, value_delimiter = ',', default_values_t = [Shape::Chains, Shape::Iptables], conflicts_with = "without_peers")]
    peers: Vec<Shape>,
    /// Leave the peers out.
    #[arg(long)]
    without_peers: bool,
    /// Measure this shape at the first size, in this process, and print the figures as JSON.
    #[arg(long, hide = true)]
    case: Option<Shape>,
}

/// How Services become rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// Fairway's flat maps.
    Flat,
    /// A chain per Service, by `nft`.
    Chains,
    /// A rule and a chain per Service, by `iptables`.
    Iptables,
}

impl Shape {
    /// What it is called in the table.
    fn title(self) -> &'static str {
        match self {
            Self::Flat => "Fairway",
            Self::Chains => "chain per Service",
            Self::Iptables => "iptables",
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| out.write_str(value.get_name()))
    }
}

/// Measures and prints.
pub fn run(args: &ServicesArgs) -> Result<()> {
    if let Some(shape) = args.case {
        return measure(shape, &args.size(args.sizes.first().copied().unwrap_or_default()));
    }
    let peers: &[Shape] = if args.without_peers { &[] } else { &args.peers };
    let shapes: Vec<Shape> = [Shape::Flat].into_iter().chain(peers.iter().copied()).collect();
    let mut cases = Vec::new();
    for services in &args.sizes {
        for shape in &shapes {
            eprintln!("{}, {services} Services", shape.title());
            cases.push(Apart::start(args, *shape, *services)?);
        }
    }
    for round in 0..CONNECT_ROUNDS {
        eprint!("\rconnections, round {} of {CONNECT_ROUNDS}", round + 1);
        cases.iter_mut().try_for_each(Apart::connect)?;
    }
    eprintln!();
    let outcomes = cases.into_iter().map(Apart::end).collect::<Result<Vec<Outcome>>>()?;
    for of_size in outcomes.chunks(shapes.len()) {
        println!("{}", report::table(args.endpoints, of_size, &outcomes));
    }
    Ok(())
}

fn measure(shape: Shape, size: &Size) -> Result<()> {
    match shape {
        Shape::Flat => case::measure::<flat::Flat>(size),
        Shape::Chains => case::measure::<chains::Chains>(size),
        Shape::Iptables => case::measure::<iptables::Iptables>(size),
    }
}

impl ServicesArgs {
    fn size(&self, services: u32) -> Size {
        Size { services, endpoints: self.endpoints, repeats: self.repeats }
    }
}
