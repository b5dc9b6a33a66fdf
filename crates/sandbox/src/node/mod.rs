//! A node's runtime: the kubelet's job, without containers.

pub mod entry;
