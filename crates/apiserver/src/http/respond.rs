//! Answers as HTTP responses.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, RETRY_AFTER, VARY, WARNING};
use hyper::{HeaderMap, Response, StatusCode};
use tokio_util::sync::CancellationToken;

use super::quota::Permit;
use crate::api::{Reply, ReplyBody};
use crate::discovery::Document;
use crate::error::ApiError;
use crate::render::to_bytes;
use crate::verbs::watch::Watch;

pub(crate) type ResponseBody = UnsyncBoxBody<Bytes, hyper::Error>;
pub(crate) type Answer = Response<ResponseBody>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NOT_CACHED: HeaderValue = HeaderValue::from_static("no-cache, private");

/// A body that is there as a whole.
pub(super) fn full(bytes: impl Into<Bytes>) -> ResponseBody {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

pub(super) fn json(code: u16, body: Bytes) -> Answer {
    let mut response = with_code(code, full(body));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, NOT_CACHED);
    response
}

pub(super) fn text(code: u16, body: impl Into<Bytes>) -> Answer {
    plain(code, "text/plain; charset=utf-8", body)
}

pub(super) fn plain(code: u16, media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = with_code(code, full(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

pub(super) fn error(error: &ApiError) -> Answer {
    let mut response = json(error.code(), to_bytes(&error.to_status()));
    if let Some(seconds) = error.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// A document that rarely changes: one the client has already is not sent again.
pub(super) fn document(document: &Document, media_type: &'static str, request: &HeaderMap) -> Answer {
    let etag = format!("\"{}\"", document.etag);
    let known = request.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let mut response = if known { with_code(304, full(Bytes::new())) } else { json(200, document.body.clone()) };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(etag) = HeaderValue::try_from(etag) {
        headers.insert(ETAG, etag);
    }
    response
}

/// What a verb answered. A watch holds its permit until it ends.
pub(super) fn reply(reply: Reply, permit: Permit, stop: &CancellationToken) -> Answer {
    let mut response = match reply.body {
        ReplyBody::Json(body) => json(reply.code, body),
        ReplyBody::Watch(watch) => {
            let mut response = json(reply.code, Bytes::new());
            *response.body_mut() = watch_body(watch, permit, stop.clone());
            response
        }
    };
    for warning in reply.warnings.iter().filter_map(|text| warning_header(text)) {
        response.headers_mut().append(WARNING, warning);
    }
    response
}

fn watch_body(watch: Box<Watch>, permit: Permit, stop: CancellationToken) -> ResponseBody {
    let lines = stream::unfold((watch, permit, stop), |(mut watch, permit, stop)| async move {
        let lines = watch.next(&stop).await?;
        Some((Ok(Frame::data(lines)), (watch, permit, stop)))
    });
    StreamBody::new(lines).boxed_unsync()
}

/// `299 - "text"` (RFC 7234, section 5.5); what a header cannot carry becomes a question mark.
fn warning_header(text: &str) -> Option<HeaderValue> {
    let mut quoted = String::from("299 - \"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            ' '..='~' => quoted.push(letter),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    HeaderValue::try_from(quoted).ok()
}

fn with_code(code: u16, body: ResponseBody) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_and_stay_on_their_line() {
        let header = warning_header("unknown field \"spec.ä\"\n").unwrap();
        assert_eq!(header, r#"299 - "unknown field \"spec.?\"?""#);
    }
}
