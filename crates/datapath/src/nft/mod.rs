//! nf_tables over our own nfnetlink encoder: the one table we own, written in batches and read back.
//!
//! [`Table::apply`] turns operations into one transaction, [`Table::read`] lists what the kernel holds. There is no
//! `nft` binary behind it, and of other tables no more than names is ever looked at. The table is listed at start, after a
//! failure, and when an audit finds that somebody changed nf_tables; what packets remember also when endpoints left.

mod batch;
mod constant;
mod error;
mod expected;
mod expression;
mod listing;
mod others;
mod table;
mod value;

#[cfg(test)]
#[path = "../../tests/support/mod.rs"]
mod support;

pub use error::NftError;
pub use listing::Listing;
pub use others::{ForeignChain, chains_of_others};
pub use table::{Applied, Elements, Table};
