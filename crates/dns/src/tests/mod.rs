//! Tests of the crate as a whole: a cluster and packets in, packets out.

mod answers;
mod corefiles;
mod robustness;
mod serving;
mod support;
mod updates;
mod zones;
