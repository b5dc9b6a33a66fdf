//! HTTP: connections, requests, answers.

mod negotiate;
mod query;
mod route;
