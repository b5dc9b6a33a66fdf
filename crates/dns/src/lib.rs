//! Names: a zone built from the snapshot, answers, cache and forwarding.
