//! Options about the ways between nodes.

use std::num::NonZeroU16;

use compile::plan::{Checksums, LinkNetwork};
use compile::{Routing, RoutingMode};

/// How packets get to pods of other nodes.
#[derive(Clone, Debug, clap::Args)]
pub struct RoutingArgs {
    /// Way of packets to pods of other nodes: native (by plain routes), vxlan (inside packets between the nodes), or auto
    /// (native to nodes that share a network with this one, vxlan to others).
    #[arg(long, value_name = "auto|native|vxlan", env = "FAIRWAY_ROUTING", default_value = "auto",
        value_parser = parse_mode)]
    routing: RoutingMode,
    /// UDP port of the tunnel between nodes; the same on all of them.
    #[arg(long, value_name = "PORT", env = "FAIRWAY_VXLAN_PORT", default_value_t = Routing::default().tunnel_port)]
    vxlan_port: NonZeroU16,
    /// Who computes the checksums of what the tunnel carries: the hardware (offloaded), the kernel (computed), or auto
    /// (the hardware unless packets turn out not to arrive that way).
    #[arg(long, value_name = "auto|offloaded|computed", env = "FAIRWAY_VXLAN_CHECKSUMS", default_value = "auto",
        value_parser = parse_checksums)]
    vxlan_checksums: ChecksumChoice,
}

/// Who is to compute checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumChoice {
    /// To be found out.
    Auto,
    /// As told.
    Fixed(Checksums),
}

impl RoutingArgs {
    /// The routing of a node on these networks, whose tunnel, if it has one, is as `found`.
    pub(super) fn routing(&self, networks: Vec<LinkNetwork>, found: Option<Checksums>) -> Routing {
        let tunnel_checksums = match self.vxlan_checksums {
            // What was found out before is not found out again by every agent.
            ChecksumChoice::Auto => found.unwrap_or_default(),
            ChecksumChoice::Fixed(checksums) => checksums,
        };
        Routing { mode: self.routing, networks, tunnel_port: self.vxlan_port, tunnel_checksums }
    }

    /// Whether to find out who must compute checksums.
    pub(in crate::roles::agent) fn checks_checksums(&self) -> bool {
        self.vxlan_checksums == ChecksumChoice::Auto
    }
}

fn parse_mode(text: &str) -> Result<RoutingMode, &'static str> {
    match text {
        "auto" => Ok(RoutingMode::Auto),
        "native" => Ok(RoutingMode::Native),
        "vxlan" => Ok(RoutingMode::Vxlan),
        _ => Err("must be auto, native or vxlan"),
    }
}

fn parse_checksums(text: &str) -> Result<ChecksumChoice, &'static str> {
    match text {
        "auto" => Ok(ChecksumChoice::Auto),
        "offloaded" => Ok(ChecksumChoice::Fixed(Checksums::Offloaded)),
        "computed" => Ok(ChecksumChoice::Fixed(Checksums::Computed)),
        _ => Err("must be auto, offloaded or computed"),
    }
}
