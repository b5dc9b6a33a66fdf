//! The scheduler and the controllers of a sandbox.

use anyhow::Result;
use apiserver::tls::Authority;
use ipnet::IpNet;
use jiff::Timestamp;
use sandbox::controllers::{self, Config, Pool};
use sandbox::machine::{RoleArgs, Spec};

fn pool(network: &IpNet) -> Pool {
    Pool { network: *network, node_prefix: Spec::node_prefix(network) }
}

/// Runs them until told to end.
pub fn run(args: &RoleArgs) -> Result<()> {
    let authority = Authority::load_or_create(&args.state().api_dir(), Timestamp::now())?;
    let config = Config {
        socket: args.state().api_socket(),
        pod_networks: args.spec().pod_cidrs().iter().map(pool).collect(),
        ca_certificate: authority.certificate_pem().to_owned(),
    };
    super::until_told(|cancel| async {
        controllers::run(config, cancel).await;
        Ok(())
    })
}
