//! The CNI plugin and its IPAM; small, synchronous, no async runtime.
