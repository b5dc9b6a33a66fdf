//! The networks a node is on.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// The networks a node is on, as it tells the others; printed as ranges with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeNetworks {
    /// It does not tell: one that runs an earlier version.
    Untold,
    /// These.
    Told(Vec<IpNet>),
}

impl NodeNetworks {
    /// Takes in what a node tells, if it tells anything; what is no range is as if it were not there.
    pub fn parse(text: Option<&str>) -> Self {
        let ranges = |text: &str| text.split(',').filter_map(|part| part.trim().parse().ok()).collect();
        text.map_or(Self::Untold, |text| Self::Told(ranges(text)))
    }

    /// Whether an address is one of a network it is on; of a node that does not tell it has to be taken to be.
    pub fn may_have(&self, address: IpAddr) -> bool {
        match self {
            Self::Untold => true,
            Self::Told(networks) => networks.iter().any(|network| network.contains(&address)),
        }
    }
}

impl fmt::Display for NodeNetworks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Told(networks) = self else { return Ok(()) };
        let texts: Vec<String> = networks.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_as_they_were_printed() {
        let networks = NodeNetworks::Told(vec!["10.89.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()]);
        assert_eq!(networks.to_string(), "10.89.0.0/24,fd00::/64");
        assert_eq!(NodeNetworks::parse(Some(&networks.to_string())), networks);
        assert_eq!(NodeNetworks::parse(Some("")), NodeNetworks::Told(vec![]));
        assert_eq!(NodeNetworks::parse(None), NodeNetworks::Untold);
    }

    #[test]
    fn a_node_may_have_addresses_of_its_networks_and_one_that_does_not_tell_any() {
        let (near, far) = ("10.89.0.7".parse().unwrap(), "10.89.1.7".parse().unwrap());
        let told = NodeNetworks::parse(Some("10.89.0.0/24"));
        assert_eq!((told.may_have(near), told.may_have(far)), (true, false));
        assert!(NodeNetworks::Untold.may_have(far));
    }
}
