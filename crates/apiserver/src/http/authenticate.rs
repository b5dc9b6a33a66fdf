//! Who a request comes from.

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use crate::api::Api;
use crate::auth::Identity;
use crate::error::ApiError;
use crate::verbs::API_AUDIENCE;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    /// The unix socket: whoever can open it is an administrator.
    Trusted,
    /// TLS, with the identity of the client's certificate if it showed one.
    Tls(Option<Identity>),
}

/// The caller; `None` if nobody is known to be calling.
pub(super) fn identify(api: &Api, peer: &Peer, headers: &HeaderMap) -> Result<Option<Identity>, ApiError> {
    match peer {
        Peer::Trusted => return Ok(Some(Identity::trusted())),
        Peer::Tls(Some(identity)) => return Ok(Some(identity.clone())),
        Peer::Tls(None) => {}
    }
    let Some(header) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let token = header.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).ok_or(ApiError::Unauthorized)?;
    match api.authenticate_token(token.trim(), API_AUDIENCE) {
        Ok(identity) => Ok(Some(identity)),
        Err(error) => {
            tracing::debug!(%error, "token refused");
            Err(ApiError::Unauthorized)
        }
    }
}
