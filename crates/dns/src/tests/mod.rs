//! Tests of the crate as a whole: a cluster and packets in, packets out.

mod answers;
mod robustness;
mod serving;
mod support;
mod updates;
