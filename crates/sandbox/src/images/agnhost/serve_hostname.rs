//! `agnhost serve-hostname`: the host name over HTTP, TCP or UDP.

use std::process::ExitCode;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::super::flags::Flags;
use super::super::http::{self, answer};
use super::super::journal::{host_name, say};
use super::usage_error;

/// How long it goes on serving after SIGTERM.
const LINGER: Duration = Duration::from_secs(60);

/// Runs `agnhost serve-hostname [--http=true] [--tcp] [--udp] [--close] [--port 9376]`.
pub fn main(arguments: &[String]) -> ExitCode {
    match Settings::parse(arguments) {
        Ok(settings) if settings.http && (settings.tcp || settings.udp) => {
            say("Can't server TCP/UDP mode and HTTP mode at the same time");
            ExitCode::FAILURE
        }
        Ok(settings) => http::run(serve(settings)),
        Err(error) => usage_error(&error),
    }
}

struct Settings {
    tcp: bool,
    udp: bool,
    http: bool,
    close: bool,
    port: u16,
}

impl Settings {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let flags = Flags::parse(arguments, &["port"], &["tcp", "udp", "http", "close"])?;
        Ok(Self {
            tcp: flags.value("tcp", false)?,
            udp: flags.value("udp", false)?,
            http: flags.value("http", true)?,
            close: flags.value("close", false)?,
            port: flags.value("port", 9376)?,
        })
    }
}

async fn serve(settings: Settings) -> ExitCode {
    let port = settings.port;
    if settings.udp {
        match UdpSocket::bind(("::", port)).await {
            Ok(socket) => drop(tokio::task::spawn_local(serve_udp(socket))),
            Err(error) => return cannot("ListenUDP", &error),
        }
    }
    if settings.tcp || settings.http {
        match http::listen(port).await {
            Ok(listener) if settings.tcp => drop(tokio::task::spawn_local(serve_tcp(listener))),
            Ok(listener) => drop(tokio::task::spawn_local(serve_http(listener, settings.close))),
            Err(error) => return cannot("net.Listen", &error),
        }
    }
    say(format!("Serving on port {port}."));
    if let Ok(mut terminate) = signal(SignalKind::terminate()) {
        terminate.recv().await;
        say("Shutting down after receiving signal: terminated.");
        say("Awaiting pod deletion.");
        tokio::time::sleep(LINGER).await;
    }
    ExitCode::SUCCESS
}

fn cannot(what: &str, error: &std::io::Error) -> ExitCode {
    say(format!("Error from {what}(): {error}"));
    ExitCode::FAILURE
}

async fn serve_http(listener: TcpListener, close: bool) {
    http::serve(listener, CancellationToken::new(), move |exchange| async move {
        say(format!("HTTP request from {}", exchange.remote));
        let mut answer = answer(StatusCode::OK, host_name());
        if close {
            answer.headers_mut().insert("connection", HeaderValue::from_static("close"));
        }
        answer
    })
    .await;
}

async fn serve_tcp(listener: TcpListener) {
    while let Ok((mut stream, remote)) = listener.accept().await {
        say(format!("TCP request from {}", http::plain(remote)));
        // Whether the client stays for the answer is its business.
        let _ = stream.write_all(host_name().as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

async fn serve_udp(socket: UdpSocket) {
    while let Ok((_, remote)) = socket.recv_from(&mut [0; 16]).await {
        say(format!("UDP request from {}", http::plain(remote)));
        let _ = socket.send_to(host_name().as_bytes(), remote).await;
    }
}
