//! HTTP: connections, requests, answers.

pub(crate) mod authenticate;
pub(crate) mod connection;
mod handler;
mod impersonate;
pub(crate) mod negotiate;
pub(crate) mod query;
pub(crate) mod quota;
mod respond;
pub(crate) mod route;

pub(crate) use handler::Handler;
pub(crate) use respond::{Answer, ResponseBody};
