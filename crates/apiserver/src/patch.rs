//! JSON patch, merge patch, strategic-merge patch and server-side apply.
//!
//! All of it is pure: objects and the time go in, objects come out.

mod apply;
#[cfg(test)]
mod arbitrary;
mod error;
mod fields;
mod json;
mod strategic;

pub use apply::{ApplyError, Writer, apply_patch, track_update};
pub use error::PatchError;
pub use json::{json_patch, merge_patch};
pub use strategic::strategic_merge_patch;
