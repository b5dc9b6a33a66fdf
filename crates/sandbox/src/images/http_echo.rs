//! `http-echo`: answers every request with one text.

use std::process::ExitCode;
use std::time::Instant;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use tokio_util::sync::CancellationToken;

use super::flags::Flags;
use super::{http, journal, web};

/// Runs `http-echo [-listen :5678] [-text TEXT] [-status-code 200]`.
pub fn main(arguments: &[String]) -> ExitCode {
    let settings = match Settings::parse(arguments) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(127);
        }
    };
    http::run(serve(settings))
}

#[derive(Debug, PartialEq)]
struct Settings {
    port: u16,
    text: String,
    status: StatusCode,
}

impl Settings {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let flags = Flags::parse(arguments, &["listen", "text", "status-code"], &[])?;
        let listen = flags.value("listen", ":5678".to_owned())?;
        let port = listen.rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.ok_or_else(|| format!("-listen {listen:?} has no port"))?;
        let text = flags.text("text").map(str::to_owned).or_else(|| std::env::var("ECHO_TEXT").ok());
        let text = text.ok_or("Missing -text option or ECHO_TEXT env var!")?;
        let status = StatusCode::from_u16(flags.value("status-code", 200)?).map_err(|error| error.to_string())?;
        Ok(Self { port, text, status })
    }
}

async fn serve(settings: Settings) -> ExitCode {
    let listener = match http::listen(settings.port).await {
        Ok(listener) => listener,
        Err(error) => {
            journal::say(format!("[ERR] Error starting server: listen tcp :{}: {error}", settings.port));
            return ExitCode::FAILURE;
        }
    };
    journal::say(format!("[INFO] server is listening on :{}", settings.port));
    let stop = CancellationToken::new();
    let ended = web::ended_by_signal(stop.clone());
    let handler = move |exchange: http::Exchange| {
        let begun = Instant::now();
        let mut answer = http::answer(settings.status, format!("{}\n", settings.text));
        answer.headers_mut().insert("x-app-name", HeaderValue::from_static("http-echo"));
        journal::say(format!(
            "{} {} \"{} {}\" {} {} {:?}",
            exchange.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default(),
            exchange.remote,
            exchange.method,
            exchange.uri,
            settings.status.as_u16(),
            settings.text.len() + 1,
            begun.elapsed()
        ));
        async move { answer }
    };
    tokio::join!(http::serve(listener, stop, handler), ended);
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_taken_as_the_original_takes_them() {
        let settings = Settings::parse(&["-listen=:8080".to_owned(), "-text".to_owned(), "hi".to_owned()]);
        assert_eq!(settings, Ok(Settings { port: 8080, text: "hi".to_owned(), status: StatusCode::OK }));
    }
}
