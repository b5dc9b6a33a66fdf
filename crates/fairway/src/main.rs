//! The `fairway` binary: roles and commands, wiring only.

fn main() {}
