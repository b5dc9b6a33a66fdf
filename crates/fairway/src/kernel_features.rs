//! What the agent needs of a node's kernel.

use datapath::conntrack::Conntrack;
use datapath::nft::Table;

/// What this node's kernel refuses of it, a line each; only root is told the truth.
pub fn missing() -> Vec<String> {
    let asked = [
        Table::open().and_then(|mut table| table.generation()).map(drop).map_err(anyhow::Error::from),
        Conntrack::open().and_then(|mut flows| flows.translated_flows()).map(drop).map_err(anyhow::Error::from),
    ];
    asked.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect()
}
