//! Stand-ins for network tools a host may lack, with the options and the words of busybox. The host's own come first.

mod flags;
mod lookup;
mod nc;
mod nslookup;
mod ping;
mod wget;

use super::Main;

/// The tools by name.
pub static TOOLS: &[(&str, Main)] =
    &[("nc", nc::main), ("nslookup", nslookup::main), ("ping", ping::main), ("wget", wget::main)];
