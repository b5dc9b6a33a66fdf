//! One box: nodes as network namespaces, the node's runtime, controllers and built-in images.
//!
//! A sandbox is a small cluster on one machine without containers, a VM or root. [`machine`] makes the namespaces and
//! keeps the roles running; [`controllers`] do what a cluster's control plane does beside the API server; `node` does the
//! kubelet's job with `shim`s that outlive it, on the private roots of `rootfs` and with the programs of `images`.

pub mod controllers;
pub mod images;
mod json_file;
pub mod machine;
pub mod node;
pub mod rootfs;
pub mod shim;
pub mod streams;
