//! The kernel: netlink links, routes, nf_tables, conntrack and network namespaces.
