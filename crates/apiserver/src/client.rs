//! An asynchronous client over the unix socket.
