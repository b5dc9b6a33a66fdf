//! Limits of what a link may carry per second: a token bucket on what it sends, and a detour for what it receives.
//!
//! The kernel shapes what a link sends only. What it receives is therefore redirected to an intermediate functional
//! block, a link that does nothing but send it on, and shaped there.

use std::collections::BTreeMap;

use nix::errno::Errno;

use super::{LinkIndex, RouteError, Rtnetlink};
use crate::netlink::{Attributes, Message, NetlinkError, flag, parse_attributes, parse_text, parse_u32};

/// Message kinds, attributes and values of `linux/rtnetlink.h` and `linux/pkt_sched.h`.
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TC_H_ROOT: u32 = 0xffff_ffff;
const TC_H_INGRESS: u32 = 0xffff_fff1;
const INGRESS_HANDLE: u32 = 0xffff_0000;
const BUCKET: &str = "tbf";
/// The number of our buckets, by which they are known from those of others on links of others.
const BUCKET_HANDLE: u32 = 0xfa17 << 16;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
/// `TC_LINKLAYER_ETHERNET`: lengths are used as they are, no table is needed.
const LINK_LAYER_ETHERNET: u8 = 1;
/// `linux/pkt_cls.h` and `linux/tc_act/tc_mirred.h`.
const TCA_U32_SEL: u16 = 5;
const TCA_U32_ACT: u16 = 7;
const TC_U32_TERMINAL: u8 = 1;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;
const TC_ACT_STOLEN: u32 = 4;
const TCA_EGRESS_REDIR: u32 = 1;
/// `htons(ETH_P_ALL)` with the filter's priority in the high half.
const FIRST_OF_ALL_PROTOCOLS: u32 = 1 << 16 | (0x0003_u16.to_be() as u32);
/// Length of `struct tcmsg`.
const HEADER_LEN: usize = 20;
/// How long a packet may wait for its turn; what would wait longer is dropped.
const LATENCY_MS: u64 = 25;

/// How much a link may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// In the long run.
    pub bytes_per_second: u64,
    /// At once, after a silence. At least as much as one packet has, which with offloading is 64 KiB.
    pub burst_bytes: u32,
}

impl Rtnetlink {
    /// Limits what a link sends; replaces another limit.
    ///
    /// `ENOENT` when the kernel lacks the token bucket (`CONFIG_NET_SCH_TBF`).
    pub fn limit_rate(&mut self, link: LinkIndex, limit: RateLimit) -> Result<(), RouteError> {
        let mut request = Attributes::append_to(header(link, BUCKET_HANDLE, TC_H_ROOT, 0));
        request.text(TCA_KIND, BUCKET).nest(TCA_OPTIONS, |options| {
            options.put(TCA_TBF_PARMS, &bucket(limit));
            options.u32(TCA_TBF_BURST, limit.burst_bytes);
            if u32::try_from(limit.bytes_per_second).is_err() {
                options.put(TCA_TBF_RATE64, &limit.bytes_per_second.to_ne_bytes());
            }
        });
        self.shape(link, "the token bucket (CONFIG_NET_SCH_TBF)", RTM_NEWQDISC, &request)
    }

    /// Sends everything a link receives to another one instead, made for that with [`Self::create_ifb`].
    ///
    /// `ENOENT` when the kernel lacks a part of what it takes.
    pub fn redirect_received(&mut self, from: LinkIndex, to: LinkIndex) -> Result<(), RouteError> {
        let mut hook = Attributes::append_to(header(from, INGRESS_HANDLE, TC_H_INGRESS, 0));
        hook.text(TCA_KIND, "ingress");
        self.shape(from, "the ingress hook (CONFIG_NET_SCH_INGRESS)", RTM_NEWQDISC, &hook)?;
        let mut filter = Attributes::append_to(header(from, 0, INGRESS_HANDLE, FIRST_OF_ALL_PROTOCOLS));
        filter.text(TCA_KIND, "u32").nest(TCA_OPTIONS, |options| {
            options.put(TCA_U32_SEL, &select_everything());
            options.nest(TCA_U32_ACT, |actions| {
                actions.nest(1, |action| {
                    action.text(TCA_ACT_KIND, "mirred").nest(TCA_ACT_OPTIONS, |mirred| {
                        mirred.put(TCA_MIRRED_PARMS, &redirection(to));
                    });
                });
            });
        });
        let needs = "redirection (CONFIG_NET_CLS_U32 and CONFIG_NET_ACT_MIRRED)";
        self.shape(from, needs, RTM_NEWTFILTER, &filter)
    }

    /// Lifts the limit of what a link sends, if it is ours. Tells whether there was one.
    pub fn unlimit_rate(&mut self, link: LinkIndex) -> Result<bool, RouteError> {
        self.unshape(link, BUCKET_HANDLE, TC_H_ROOT)
    }

    /// Lets what a link receives take its usual way. Tells whether it did not.
    pub fn stop_redirecting(&mut self, from: LinkIndex) -> Result<bool, RouteError> {
        self.unshape(from, INGRESS_HANDLE, TC_H_INGRESS)
    }

    /// Where what a link receives is redirected to.
    pub fn redirection(&mut self, from: LinkIndex) -> Result<Option<LinkIndex>, RouteError> {
        let request = header(from, 0, INGRESS_HANDLE, 0);
        let found = self.socket.query(RTM_GETTFILTER, flag::DUMP, &request, |message| Ok(parse_redirection(message)));
        let found = found.map_err(|source| RouteError::ReadShaping { link: from, source })?;
        Ok(found.first().copied())
    }

    /// What a link may send per second, when there is a limit of ours.
    pub fn rate_limit(&mut self, link: LinkIndex) -> Result<Option<u64>, RouteError> {
        Ok(self.rate_limits()?.remove(&link))
    }

    /// What links may send per second, of those that have a limit of ours.
    pub fn rate_limits(&mut self) -> Result<BTreeMap<LinkIndex, u64>, RouteError> {
        // The kernel lists those of all links whatever link is asked about.
        let found = self.socket.query(RTM_GETQDISC, flag::DUMP, &header(LinkIndex(0), 0, 0, 0), parse);
        Ok(found.map_err(|source| RouteError::ReadRateLimits { source })?.into_iter().collect())
    }

    fn unshape(&mut self, link: LinkIndex, handle: u32, parent: u32) -> Result<bool, RouteError> {
        match self.socket.request(RTM_DELQDISC, 0, &header(link, handle, parent, 0)) {
            Ok(()) => Ok(true),
            // Nothing is there, or what is there has another number.
            Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::EINVAL | Errno::ENODEV)) => Ok(false),
            Err(source) => Err(RouteError::Unshape { link, source }),
        }
    }

    fn shape(
        &mut self,
        link: LinkIndex,
        needs: &'static str,
        kind: u16,
        request: &Attributes,
    ) -> Result<(), RouteError> {
        self.socket
            .request(kind, flag::CREATE | flag::REPLACE, request.as_bytes())
            .map_err(|source| RouteError::Shape { link, needs, source })
    }
}

/// `struct tcmsg`: family, link, handle, parent, information.
fn header(link: LinkIndex, handle: u32, parent: u32, information: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for field in [link.0, handle, parent, information] {
        bytes.extend_from_slice(&field.to_ne_bytes());
    }
    bytes
}

/// `struct tc_tbf_qopt`: rate, peak rate, limit, buffer, largest packet at the peak rate.
fn bucket(limit: RateLimit) -> Vec<u8> {
    let waiting = limit.bytes_per_second.saturating_mul(LATENCY_MS) / 1000;
    let queue = u32::try_from(waiting.saturating_add(limit.burst_bytes.into())).unwrap_or(u32::MAX);
    let rate = u32::try_from(limit.bytes_per_second).unwrap_or(u32::MAX);
    // `struct tc_ratespec`: cell, link layer, overhead, alignment, smallest packet, rate.
    let mut bytes = vec![0, LINK_LAYER_ETHERNET, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&rate.to_ne_bytes());
    bytes.extend_from_slice(&[0; 12]);
    bytes.extend_from_slice(&queue.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes
}

/// `struct tc_u32_sel` with one key that compares nothing.
fn select_everything() -> [u8; 32] {
    const KEYS_OFFSET: usize = 2;
    let mut bytes = [0; 32];
    bytes[0] = TC_U32_TERMINAL;
    bytes[KEYS_OFFSET] = 1;
    bytes
}

/// `struct tc_mirred`: index, capabilities, action, two counts, what to do, link.
fn redirection(to: LinkIndex) -> Vec<u8> {
    let fields = [0, 0, TC_ACT_STOLEN, 0, 0, TCA_EGRESS_REDIR, to.0];
    fields.iter().flat_map(|field| field.to_ne_bytes()).collect()
}

/// The link that a filter redirects to.
fn parse_redirection(message: &Message<'_>) -> Option<LinkIndex> {
    /// Where in `struct tc_mirred` the link is.
    const LINK_OFFSET: usize = 24;
    let inner = |bytes, wanted| parse_attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let options = inner(message.payload.get(HEADER_LEN..)?, TCA_OPTIONS)?;
    let actions = inner(options, TCA_U32_ACT)?;
    let mirred =
        parse_attributes(actions).find_map(|(_, action)| inner(inner(action, TCA_ACT_OPTIONS)?, TCA_MIRRED_PARMS));
    mirred?.get(LINK_OFFSET..).and_then(parse_u32).map(LinkIndex)
}

/// The rate of a token bucket of ours, and the link it is on.
fn parse(message: &Message<'_>) -> Result<Option<(LinkIndex, u64)>, NetlinkError> {
    const SHORT: NetlinkError = NetlinkError::Malformed { what: "a queueing discipline's header" };
    let (fixed, rest) = message.payload.split_at_checked(HEADER_LEN).ok_or(SHORT)?;
    let [of, handle, parent] = [4, 8, 12].map(|offset| parse_u32(&fixed[offset..]));
    let Some(link) = of.filter(|_| (handle, parent) == (Some(BUCKET_HANDLE), Some(TC_H_ROOT))) else { return Ok(None) };
    let (mut is_bucket, mut rate, mut rate64) = (false, None, None);
    for (kind, value) in parse_attributes(rest) {
        match kind {
            TCA_KIND => is_bucket = parse_text(value) == BUCKET,
            TCA_OPTIONS => {
                for (kind, value) in parse_attributes(value) {
                    match kind {
                        TCA_TBF_PARMS => rate = value.get(8..).and_then(parse_u32).map(u64::from),
                        TCA_TBF_RATE64 => rate64 = value.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(rate64.or(rate).filter(|_| is_bucket).map(|rate| (LinkIndex(link), rate)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Veth, VethEnd};
    use crate::testing::isolated;

    #[test]
    fn a_limit_of_somebody_else_is_none_of_ours() {
        isolated(|| {
            let mut host = Rtnetlink::open().unwrap();
            let end = |name| VethEnd { name, mac: None, netns: None };
            let link = host.create_veth(&Veth { end: end("a"), peer: end("b"), mtu: 1500 }).unwrap().index;
            let limit = RateLimit { bytes_per_second: 1_000_000, burst_bytes: 65_536 };
            let mut request = Attributes::append_to(header(link, 0x8001 << 16, TC_H_ROOT, 0));
            request.text(TCA_KIND, BUCKET).nest(TCA_OPTIONS, |options| {
                options.put(TCA_TBF_PARMS, &bucket(limit)).u32(TCA_TBF_BURST, limit.burst_bytes);
            });
            host.shape(link, "the token bucket", RTM_NEWQDISC, &request).unwrap();
            assert_eq!(host.rate_limit(link).unwrap(), None);
            assert!(!host.unlimit_rate(link).unwrap(), "it is not ours to lift");
            host.limit_rate(link, limit).unwrap();
            assert_eq!(host.rate_limit(link).unwrap(), Some(limit.bytes_per_second));
        });
    }

    #[test]
    fn a_bucket_has_the_kernels_layout() {
        let bytes = bucket(RateLimit { bytes_per_second: 1_000_000, burst_bytes: 65_536 });
        assert_eq!(bytes.len(), 36);
        assert_eq!(parse_u32(&bytes[8..]), Some(1_000_000));
        assert_eq!(parse_u32(&bytes[24..]), Some(25_000 + 65_536));
        assert_eq!((select_everything().len(), redirection(LinkIndex(7)).len()), (32, 28));
    }
}
