//! The only door to an API server for Fairway's roles: watches, status writes, leases, events.
