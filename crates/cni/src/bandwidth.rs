//! How much a container may receive and send per second (`bandwidth`).

use datapath::route::{Link, LinkIndex, RateLimit, Rtnetlink};
use serde::{Deserialize, Serialize};

use crate::CniError;
use crate::owner::Owner;

/// What runtimes say when nobody asked for a burst: the largest number they can.
const NO_BURST_BITS: u64 = i32::MAX as u64;
/// The largest packet with offloading; the kernel passes on nothing that does not fit a burst.
const BURST_BYTES_MIN: u64 = 64 * 1024;
/// Without a burst of their own, containers may be ahead by what the rate allows in a tenth of a second.
const BURSTS_PER_SECOND: u64 = 10;

/// What the kernel says of a redirection whose link was deleted.
const GONE: LinkIndex = LinkIndex(0);

/// The limits of one container; none for a direction without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bandwidth {
    /// Of what it receives.
    #[serde(default, with = "limit_record", skip_serializing_if = "Option::is_none")]
    ingress: Option<RateLimit>,
    /// Of what it sends.
    #[serde(default, with = "limit_record", skip_serializing_if = "Option::is_none")]
    egress: Option<RateLimit>,
}

/// What the kernel limits of one container.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shaping {
    /// How much the host's end may send, in bytes per second.
    pub(crate) ingress: Option<u64>,
    /// The link by which what the host's end receives takes a detour.
    pub(crate) detour: Option<LinkIndex>,
    /// How much that one may send.
    pub(crate) egress: Option<u64>,
    /// Where what the host's end receives is redirected to.
    pub(crate) redirected_to: Option<LinkIndex>,
}

impl Shaping {
    fn read(host: &mut Rtnetlink, owner: &Owner, link: &Link) -> Result<Self, CniError> {
        let detour = host.link(&owner.shaping_link())?.filter(|detour| detour.is_up).map(|detour| detour.index);
        Ok(Self {
            ingress: host.rate_limit(link.index)?,
            detour,
            egress: detour.map(|detour| host.rate_limit(detour)).transpose()?.flatten(),
            redirected_to: detour.map(|_| host.redirection(link.index)).transpose()?.flatten(),
        })
    }
}

/// `runtimeConfig.bandwidth`: bits per second, and bits. The other spelling is containerd's.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RawBandwidth {
    #[serde(alias = "IngressRate")]
    ingress_rate: u64,
    #[serde(alias = "IngressBurst")]
    ingress_burst: u64,
    #[serde(alias = "EgressRate")]
    egress_rate: u64,
    #[serde(alias = "EgressBurst")]
    egress_burst: u64,
}

impl From<&RawBandwidth> for Bandwidth {
    fn from(raw: &RawBandwidth) -> Self {
        Self { ingress: limit(raw.ingress_rate, raw.ingress_burst), egress: limit(raw.egress_rate, raw.egress_burst) }
    }
}

fn limit(rate_bits: u64, burst_bits: u64) -> Option<RateLimit> {
    let bytes_per_second = rate_bits.div_ceil(8);
    let burst = match burst_bits {
        0 | NO_BURST_BITS.. => bytes_per_second / BURSTS_PER_SECOND,
        burst_bits => burst_bits / 8,
    };
    let burst_bytes = u32::try_from(burst.max(BURST_BYTES_MIN)).unwrap_or(u32::MAX);
    (rate_bits > 0).then_some(RateLimit { bytes_per_second, burst_bytes })
}

impl Bandwidth {
    /// Whether what the container sends is limited.
    pub(crate) const fn limits_egress(self) -> bool {
        self.egress.is_some()
    }

    /// Whether there is any limit.
    pub(crate) const fn is_wished(self) -> bool {
        self.ingress.is_some() || self.egress.is_some()
    }

    /// Limits what passes `link`, the host's end of the container's. Limits that are there are replaced.
    pub(crate) fn apply(self, host: &mut Rtnetlink, owner: &Owner, link: &Link) -> Result<(), CniError> {
        if self.is_wished() {
            lift_from(host, owner, link)?;
        }
        if let Some(ingress) = self.ingress {
            host.limit_rate(link.index, ingress)?;
        }
        if let Some(egress) = self.egress {
            lift(host, owner)?;
            let detour = host.create_ifb(&owner.shaping_link())?;
            host.mark_as_ours(detour.index, &format!("what {} sends", owner.container))?;
            host.limit_rate(detour.index, egress)?;
            host.redirect_received(link.index, detour.index)?;
        }
        Ok(())
    }

    /// What is wrong with the limits, each as a sentence.
    pub(crate) fn faults(self, host: &mut Rtnetlink, owner: &Owner, link: &Link) -> Result<Vec<String>, CniError> {
        Ok(self.faults_of(Shaping::read(host, owner, link)?))
    }

    /// The same of what was read before.
    pub(crate) fn faults_of(self, found: Shaping) -> Vec<String> {
        let mut faults = Vec::new();
        for (wanted, found, what) in [(self.ingress, found.ingress, "receives"), (self.egress, found.egress, "sends")] {
            let Some(wanted) = wanted.filter(|wanted| found != Some(wanted.bytes_per_second)) else { continue };
            faults.push(format!("what the container {what} is not limited to {} B/s", wanted.bytes_per_second));
        }
        if self.egress.is_some() && found.detour.is_some() && found.redirected_to != found.detour {
            faults.push("what the container sends does not pass where it is limited".to_owned());
        }
        faults
    }
}

/// Removes the limits from the host's end of the container's link, for a link that outlives them. What redirected to a
/// link that is gone would drop all it gets.
pub(crate) fn lift_from(host: &mut Rtnetlink, owner: &Owner, link: &Link) -> Result<(), CniError> {
    host.unlimit_rate(link.index)?;
    let detour = host.link(&owner.shaping_link())?.map(|detour| detour.index);
    let redirected_to = host.redirection(link.index)?;
    if redirected_to.is_some_and(|to| Some(to) == detour || to == GONE) {
        host.stop_redirecting(link.index)?;
    }
    Ok(())
}

/// Removes what outlives the container's own link.
pub(crate) fn lift(host: &mut Rtnetlink, owner: &Owner) -> Result<(), CniError> {
    if let Some(link) = host.link(&owner.shaping_link())? {
        host.delete_link(link.index)?;
    }
    Ok(())
}

/// Limits as they are written down.
mod limit_record {
    use super::{Deserialize, RateLimit, Serialize};
    use serde::{Deserializer, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Record {
        bytes_per_second: u64,
        burst_bytes: u32,
    }

    #[expect(clippy::ref_option, reason = "serde passes fields by reference")]
    pub(super) fn serialize<S: Serializer>(limit: &Option<RateLimit>, serializer: S) -> Result<S::Ok, S::Error> {
        let record =
            |limit: RateLimit| Record { bytes_per_second: limit.bytes_per_second, burst_bytes: limit.burst_bytes };
        limit.map(record).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RateLimit>, D::Error> {
        let record: Option<Record> = Option::deserialize(deserializer)?;
        Ok(record.map(|Record { bytes_per_second, burst_bytes }| RateLimit { bytes_per_second, burst_bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerds_spelling_means_the_same() {
        let spelled = |rate: &str| {
            let raw: RawBandwidth = serde_json::from_value(serde_json::json!({ rate: 8_000_000 })).unwrap();
            Bandwidth::from(&raw)
        };
        assert_eq!(spelled("IngressRate"), spelled("ingressRate"));
        assert_eq!(spelled("EgressRate"), spelled("egressRate"));
        assert_ne!(spelled("IngressRate"), spelled("EgressRate"));
    }

    #[test]
    fn bits_become_bytes_and_a_burst_nobody_asked_for_a_tenth_of_a_second() {
        assert_eq!(limit(0, 5), None);
        let eight_megabits = Some(RateLimit { bytes_per_second: 1_000_000, burst_bytes: 100_000 });
        assert_eq!(limit(8_000_000, 0), eight_megabits);
        assert_eq!(limit(8_000_000, 2_147_483_647), eight_megabits);
        assert_eq!(limit(8_000_000, 8_000_000).unwrap().burst_bytes, 1_000_000);
        assert_eq!(limit(8, 8).unwrap(), RateLimit { bytes_per_second: 1, burst_bytes: 65_536 });
    }
}
