//! `agnhost liveness`: healthy for ten seconds, then not; for trying out liveness probes.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio_util::sync::CancellationToken;

use super::super::http::{self, answer};
use super::super::journal::say;

const HEALTHY_FOR: Duration = Duration::from_secs(10);
const PORT: u16 = 8080;

/// Runs `agnhost liveness`.
pub fn main(_: &[String]) -> ExitCode {
    http::run(async {
        let started = Instant::now();
        let listener = match http::listen(PORT).await {
            Ok(listener) => listener,
            Err(error) => {
                say(format!("listen tcp :{PORT}: bind: {error}"));
                return ExitCode::FAILURE;
            }
        };
        let handler = move |exchange: http::Exchange| {
            let age = started.elapsed();
            let answer = match exchange.uri.path() {
                "/started" => answer(StatusCode::OK, format!("{age:?}")),
                "/healthz" if age > HEALTHY_FOR => {
                    answer(StatusCode::INTERNAL_SERVER_ERROR, format!("error: {}", age.as_secs_f64()))
                }
                "/healthz" => answer(StatusCode::OK, "ok"),
                _ => answer(StatusCode::NOT_FOUND, "404 page not found\n"),
            };
            async move { answer }
        };
        http::serve(listener, CancellationToken::new(), handler).await;
        ExitCode::SUCCESS
    })
}
