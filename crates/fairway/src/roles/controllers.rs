//! The scheduler and the controllers of a sandbox.

use anyhow::Result;
use apiserver::tls::Authority;
use jiff::Timestamp;
use sandbox::controllers::{self, Config, Pool};
use sandbox::machine::{RoleArgs, Spec};

/// Runs them until told to end.
pub fn run(args: &RoleArgs) -> Result<()> {
    let authority = Authority::load_or_create(&args.state().api_dir(), Timestamp::now())?;
    let config = Config {
        socket: args.state().api_socket(),
        pod_networks: vec![Pool { network: args.spec().pod_cidr().into(), node_prefix: Spec::NODE_PREFIX }],
        ca_certificate: authority.certificate_pem().to_owned(),
    };
    super::until_told(|cancel| async {
        controllers::run(config, cancel).await;
        Ok(())
    })
}
