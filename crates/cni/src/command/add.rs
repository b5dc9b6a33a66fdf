//! `ADD`: everything or nothing.

use std::net::IpAddr;
use std::path::Path;

use datapath::route::Rtnetlink;
use datapath::{HostPorts, Netns, sysctl};
use model::IpFamily;
use serde_json::Value;

use super::teardown;
use crate::attachments::{self, Record};
use crate::config::{AddressSource, Config, Pools, Position};
use crate::delegate::Lease;
use crate::environment::{Arguments, Target};
use crate::ipam::{self, Store};
use crate::made::{Made, Wire};
use crate::owner::Owner;
use crate::removal::Removal;
use crate::result::addresses_of_interface;
use crate::runtime_config::Wishes;
use crate::state::StateDirectory;
use crate::wiring::{self, Wiring};
use crate::{CniError, allow_forwarding, host_ports};

/// Attaches a container and returns the result. On failure nothing of it is left.
pub(super) fn add(
    state: &StateDirectory,
    config: &Config,
    target: &Target,
    arguments: &Arguments,
) -> Result<Value, CniError> {
    let addition =
        Addition { state, config, target, arguments, wishes: config.wishes.clone().or_arguments(arguments)? };
    let is_new = attachments::read(state, &target.owner)?.is_none();
    let added = addition.run();
    if added.is_err() {
        // Only what was attached before can have been met.
        let undo = if is_new { teardown::roll_back } else { teardown::take_down };
        // The first failure is the one to tell; what stays goes with DEL.
        let _ = undo(state, &Removal::from(config), &target.owner);
    }
    added
}

struct Addition<'a> {
    state: &'a StateDirectory,
    config: &'a Config,
    target: &'a Target,
    arguments: &'a Arguments,
    wishes: Wishes,
}

impl Addition<'_> {
    fn run(&self) -> Result<Value, CniError> {
        self.announce()?;
        match &self.config.position {
            Position::Main(source) => self.make(source),
            Position::Chained => self.add_to_previous(),
        }
    }

    /// Makes the interface.
    fn make(&self, source: &AddressSource) -> Result<Value, CniError> {
        if let AddressSource::Own(pools) = source {
            self.refuse_taken_ports(pools)?;
        }
        let lease = self.obtain(source)?;
        // A packet of the container's must not pass before it is known whose addresses it may use.
        HostPorts::open()?.prepare()?;
        for address in &lease.addresses {
            allow_forwarding(self.state.path(), IpFamily::of(*address))?;
        }
        let mut attachment = wiring::attach(&Wiring {
            owner: self.owner(),
            netns: self.netns(),
            pod: self.arguments.pod.as_deref(),
            addresses: &lease.addresses,
            destinations: &lease.destinations,
            mac: self.wishes.mac,
            mtu: self.config.mtu,
        })?;
        let mut host = Rtnetlink::open()?;
        let link = host.require_link(&attachment.host.name)?;
        self.wishes.bandwidth.apply(&mut host, self.owner(), &link)?;
        let wire = Wire {
            mtu: link.mtu,
            mac: link.mac,
            container_mac: attachment.container.mac,
            addresses: lease.addresses.clone(),
        };
        self.equip(&lease.addresses, Some(Made::of(&link, Some(wire), self.wishes.bandwidth)))?;
        attachment.dns = self.wishes.dns.clone().or(lease.dns).or_else(|| self.config.dns.clone());
        Ok(attachment.result(self.config))
    }

    /// Adds what is wished for to the interface another plugin made.
    fn add_to_previous(&self) -> Result<Value, CniError> {
        let Some(previous) = &self.config.previous else {
            let why = "must name ranges of addresses, e.g. { \"ranges\": [\"10.244.1.0/24\"] }, \
                       unless another plugin of the network makes the interface";
            return Err(CniError::Config { field: "ipam".into(), why: why.to_owned() });
        };
        let addresses = addresses_of_interface(previous, &self.owner().interface);
        let mut made = None;
        if self.wishes.bandwidth.is_wished() {
            let mut host = Rtnetlink::open()?;
            let link = wiring::host_end(&mut host, self.netns(), &self.owner().interface)?;
            self.wishes.bandwidth.apply(&mut host, self.owner(), &link)?;
            made = Some(Made::of(&link, None, self.wishes.bandwidth));
        }
        self.equip(&addresses, made)?;
        let mut result = previous.clone();
        result["cniVersion"] = self.config.version.as_str().into();
        Ok(result)
    }

    /// Refuses ports others have before there is anything to undo.
    fn refuse_taken_ports(&self, pools: &Pools) -> Result<(), CniError> {
        // Whose port it is does not depend on the address it leads to, but for the family.
        let of_each_family: Vec<IpAddr> =
            pools.families().iter().filter_map(|family| Some(family.ranges.first()?.addr())).collect();
        let ports = host_ports::plan(&self.wishes.port_mappings, &of_each_family);
        host_ports::refuse_taken(self.state, &self.record(&ports))
    }

    fn obtain(&self, source: &AddressSource) -> Result<Lease, CniError> {
        match source {
            AddressSource::Own(pools) => {
                let store = Store::new(self.state).avoiding(ipam::occupied(Path::new(ipam::HOST_LOCAL))?);
                let addresses = store.reserve(self.owner(), pools, &self.wishes.addresses)?;
                Ok(Lease { addresses, ..Lease::default() })
            }
            AddressSource::Plugin(plugin) => plugin.obtain(),
        }
    }

    /// What does not depend on who made the interface.
    fn equip(&self, addresses: &[IpAddr], made: Option<Made>) -> Result<(), CniError> {
        if !self.config.sysctls.is_empty() {
            let netns: Netns = wiring::open(self.netns())?;
            let write = || self.config.sysctls.iter().try_for_each(|(key, value)| sysctl::write(key, value));
            netns.run(write)??;
        }
        let record = self.record(&host_ports::plan(&self.wishes.port_mappings, addresses));
        host_ports::publish(self.state, &Record { made, ..record })
    }

    fn record(&self, host_ports: &[compile::host_ports::HostPort]) -> Record {
        Record {
            owner: self.owner().clone(),
            network: self.config.network.clone(),
            netns: self.netns().to_owned(),
            pod: self.arguments.pod.clone(),
            chained: self.config.position == Position::Chained,
            delegated: matches!(self.config.position, Position::Main(AddressSource::Plugin(_))),
            host_ports: host_ports.to_vec(),
            made: None,
        }
    }

    /// Writes the attachment down before anything is made, so that whatever a killed call leaves is known to be
    /// somebody's. Ports an earlier call wrote down stay: they may be in the kernel.
    fn announce(&self) -> Result<(), CniError> {
        let lock = self.state.lock()?;
        let earlier = attachments::read(self.state, self.owner())?.map(|record| record.host_ports);
        let record = self.record(&earlier.unwrap_or_default());
        Ok(attachments::write(self.state, &lock, &record)?)
    }

    fn owner(&self) -> &Owner {
        &self.target.owner
    }

    fn netns(&self) -> &Path {
        &self.target.netns
    }
}
