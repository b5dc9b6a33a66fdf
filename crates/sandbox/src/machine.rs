//! The machine under a sandbox: its namespaces, its processes and how they end.
