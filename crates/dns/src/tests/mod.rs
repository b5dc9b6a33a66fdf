//! Tests of the crate as a whole: a cluster and packets in, packets out.

mod answers;
mod caching;
mod corefiles;
mod forwarding;
mod robustness;
mod served;
mod serving;
mod support;
mod updates;
mod zones;
