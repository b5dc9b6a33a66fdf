//! What others have in nf_tables, by name: for telling who works beside us. What is in it is never looked at.

use std::collections::BTreeSet;

use compile::ruleset::TABLE;

use super::constant::{FAMILY_INET, NFPROTO_IPV4, NFPROTO_IPV6, chain, message};
use super::error::NftError;
use crate::netlink::{Family, Message, Socket, flag, parse_attributes, parse_text};

/// `struct nfgenmsg`; its first byte is the family, 0 for all.
const HEADER: [u8; 4] = [0; 4];

/// A chain of somebody else's table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignChain {
    /// The number of its family, as in `linux/netfilter.h`.
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
}

impl ForeignChain {
    /// Its table as `nft` names it: family and name.
    pub fn qualified_table(&self) -> String {
        let family = match self.family {
            FAMILY_INET => "inet",
            NFPROTO_IPV4 => "ip",
            NFPROTO_IPV6 => "ip6",
            _ => "other",
        };
        format!("{family} {}", self.table)
    }
}

/// The chains of all tables of this namespace but ours; those of `iptables` over nf_tables are among them.
pub fn chains_of_others() -> Result<BTreeSet<ForeignChain>, NftError> {
    let mut socket = Socket::open(Family::Netfilter).map_err(|source| NftError::Connect { source })?;
    let found = socket.query(message::GET_CHAIN, flag::DUMP, &HEADER, |message| Ok(parse(message)));
    Ok(found.map_err(|source| NftError::List { what: "chains of others", source })?.into_iter().collect())
}

fn parse(message: &Message<'_>) -> Option<ForeignChain> {
    let (header, attributes) = message.payload.split_at_checked(HEADER.len())?;
    let mut found = ForeignChain { family: header[0], table: String::new(), name: String::new() };
    for (kind, value) in parse_attributes(attributes) {
        match kind {
            chain::TABLE => found.table = parse_text(value),
            chain::NAME => found.name = parse_text(value),
            _ => {}
        }
    }
    (found.family, &*found.table).ne(&(FAMILY_INET, TABLE)).then_some(found)
}
