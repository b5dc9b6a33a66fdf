//! What can be done with objects. Each verb decides in a write of the store or reads a snapshot; HTTP is not known here.

mod create;
mod definition;
mod delete;
mod input;
mod list;
mod read;
mod review;
mod scale;
mod subresource;
mod token;
mod update;
pub(crate) mod watch;
mod write;

pub(crate) use token::API_AUDIENCE;
pub(crate) use write::is_namespace;
