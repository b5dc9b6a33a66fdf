//! One box: nodes as namespaces, the node's runtime, controllers and built-in images.
