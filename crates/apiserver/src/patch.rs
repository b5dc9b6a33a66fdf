//! JSON patch, merge patch, strategic-merge patch and server-side apply.

mod error;
mod json;
mod strategic;

pub use error::PatchError;
pub use json::{json_patch, merge_patch};
pub use strategic::strategic_merge_patch;
