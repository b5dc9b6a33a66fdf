//! A Kubernetes-compatible API server as a library: store, watch, patch, tables, streams.
