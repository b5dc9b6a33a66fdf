//! `agnhost netexec`: an HTTP and a UDP server that tell who asks, who answers, and pass requests on.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde_json::{Map, Value, json};
use tokio::net::UdpSocket;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::super::flags::{Flags, parse_duration};
use super::super::http::{self, Answer, Exchange, answer};
use super::super::journal::{host_name, say};
use super::super::web::title_case;
use super::{dial, usage_error};

const VALUES: [&str; 8] = [
    "http-port",
    "udp-port",
    "sctp-port",
    "tls-cert-file",
    "tls-private-key-file",
    "http-override",
    "udp-listen-addresses",
    "delay-shutdown",
];

#[derive(Debug, Clone, PartialEq)]
struct Settings {
    http_port: u16,
    /// `None` switches the UDP server off.
    udp_port: Option<u16>,
    /// The addresses the UDP server listens on; empty means all.
    udp_addresses: Vec<IpAddr>,
    http_override: Option<String>,
    delay_shutdown: Duration,
}

impl Settings {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let flags = Flags::parse(arguments, &VALUES, &[])?;
        for unsupported in ["tls-cert-file", "tls-private-key-file"] {
            if flags.text(unsupported).is_some_and(|value| !value.is_empty()) {
                return Err(format!("--{unsupported}: this stand-in for agnhost serves plain HTTP only"));
            }
        }
        let udp_port: i32 = flags.value("udp-port", 8081)?;
        let addresses =
            flags.text("udp-listen-addresses").unwrap_or_default().split(',').filter(|text| !text.is_empty());
        Ok(Self {
            http_port: flags.value("http-port", 8080)?,
            udp_port: u16::try_from(udp_port).ok(),
            udp_addresses: addresses
                .map(|text| text.parse().map_err(|_| format!("parseAddress: invalid address {text}")))
                .collect::<Result<_, _>>()?,
            http_override: flags.text("http-override").filter(|path| !path.is_empty()).map(str::to_owned),
            delay_shutdown: Duration::from_secs(flags.value("delay-shutdown", 0)?),
        })
    }
}

/// What the handlers share.
struct State {
    http_override: Option<String>,
    udp_ready: Cell<bool>,
    terminating: Cell<bool>,
    /// The exit code asked for by `/exit` with a timeout, and how long connections may take.
    exit: Cell<Option<(u8, Duration)>>,
    stop: CancellationToken,
}

/// Runs `agnhost netexec`.
pub fn main(arguments: &[String]) -> ExitCode {
    match Settings::parse(arguments) {
        Ok(settings) => http::run(serve(settings)),
        Err(error) => usage_error(&error),
    }
}

async fn serve(settings: Settings) -> ExitCode {
    let state = Rc::new(State {
        http_override: settings.http_override.clone(),
        udp_ready: Cell::new(false),
        terminating: Cell::new(false),
        exit: Cell::new(None),
        stop: CancellationToken::new(),
    });
    tokio::task::spawn_local(end_on_signal(Rc::clone(&state), settings.delay_shutdown));
    if let Some(port) = settings.udp_port {
        let any = vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let addresses = if settings.udp_addresses.is_empty() { any } else { settings.udp_addresses.clone() };
        for address in addresses {
            tokio::task::spawn_local(serve_udp(Rc::clone(&state), address, port));
        }
    }
    let listener = match http::listen(settings.http_port).await {
        Ok(listener) => listener,
        Err(error) => {
            say(format!("listen tcp :{}: bind: {error}", settings.http_port));
            return ExitCode::FAILURE;
        }
    };
    say(format!("Started HTTP server on port {}", settings.http_port));
    let handlers = Rc::clone(&state);
    let serving = http::serve(listener, state.stop.clone(), move |exchange| {
        let state = Rc::clone(&handlers);
        async move { respond(&state, exchange).await }
    });
    let ended = async {
        state.stop.cancelled().await;
        tokio::time::sleep(state.exit.get().map_or(Duration::ZERO, |(_, timeout)| timeout)).await;
    };
    tokio::select! { () = serving => {}, () = ended => {} }
    say("Graceful shutdown completed");
    ExitCode::from(state.exit.get().map_or(0, |(code, _)| code))
}

async fn end_on_signal(state: Rc<State>, delay: Duration) {
    if let Ok(mut terminate) = signal(SignalKind::terminate()) {
        terminate.recv().await;
        state.terminating.set(true);
        if !delay.is_zero() {
            say(format!("Sleeping {} seconds before terminating...", delay.as_secs()));
            tokio::time::sleep(delay).await;
        }
        std::process::exit(0);
    }
}

async fn respond(state: &State, mut exchange: Exchange) -> Answer {
    if let Some(path) = &state.http_override {
        exchange.uri = path.parse().unwrap_or_default();
    }
    let path = exchange.uri.path().to_owned();
    say(format!("GET {}", exchange.uri));
    match path.as_str() {
        "/clientip" => answer(StatusCode::OK, exchange.remote.to_string()),
        "/header" => header(&exchange),
        "/dial" => dial::respond(&exchange).await,
        "/echo" => echo(&exchange),
        "/exit" => exit(state, &exchange).await,
        "/healthz" => answer(if state.udp_ready.get() { StatusCode::OK } else { StatusCode::PRECONDITION_FAILED }, ""),
        "/readyz" if state.terminating.get() => answer(StatusCode::SERVICE_UNAVAILABLE, "shutting down"),
        "/readyz" if state.udp_ready.get() => answer(StatusCode::OK, "ok"),
        "/readyz" => answer(StatusCode::PRECONDITION_FAILED, ""),
        "/hostname" | "/hostName" => answer(StatusCode::OK, host_name()),
        "/redirect" => redirect(&exchange),
        "/shell" => shell(&exchange).await,
        "/shutdown" => std::process::exit(0),
        "/upload" => answer(StatusCode::OK, json!({"error": "Unable to upload file."}).to_string()),
        _ => answer(StatusCode::OK, format!("NOW: {}", jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S.%f %z %Z"))),
    }
}

fn header(exchange: &Exchange) -> Answer {
    let key = exchange.parameter("key");
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    if !key.is_empty() {
        return answer(StatusCode::OK, exchange.headers.get(&key).map(text).unwrap_or_default());
    }
    let mut all = Map::new();
    for name in exchange.headers.keys().filter(|name| *name != "host") {
        let values: Vec<String> = exchange.headers.get_all(name).iter().map(text).collect();
        all.insert(title_case(name.as_str()), json!(values));
    }
    answer(StatusCode::OK, Value::Object(all).to_string())
}

/// The status `code` names; the error is the original's complaint.
fn status_from(code: &str, default: StatusCode) -> Result<StatusCode, String> {
    if code.is_empty() {
        return Ok(default);
    }
    let complaint = || format!("argument 'code' must be an integer or empty, got {code:?}\n");
    code.parse().ok().and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(complaint)
}

fn echo(exchange: &Exchange) -> Answer {
    match status_from(&exchange.parameter("code"), StatusCode::OK) {
        Ok(status) => answer(status, exchange.parameter("msg")),
        Err(complaint) => answer(StatusCode::OK, complaint),
    }
}

fn redirect(exchange: &Exchange) -> Answer {
    let location = HeaderValue::from_str(&exchange.parameter("location"));
    match (status_from(&exchange.parameter("code"), StatusCode::FOUND), location) {
        (Ok(status), Ok(location)) => {
            let mut answer = answer(status, "");
            answer.headers_mut().insert("location", location);
            answer
        }
        (Err(complaint), _) => answer(StatusCode::OK, complaint),
        (_, Err(_)) => answer(StatusCode::BAD_REQUEST, "argument 'location' is no header value\n"),
    }
}

async fn exit(state: &State, exchange: &Exchange) -> Answer {
    let duration = |name: &str| {
        let text = exchange.parameter(name);
        let complaint = || format!("argument '{name}' must be a valid golang duration or empty, got {text:?}\n");
        if text.is_empty() { Ok(Duration::ZERO) } else { parse_duration(&text).ok_or_else(complaint) }
    };
    let code = exchange.parameter("code");
    let parsed = if code.is_empty() { Ok(0) } else { code.parse::<u8>() };
    let (timeout, wait, code) = match (duration("timeout"), duration("wait"), parsed) {
        (Ok(timeout), Ok(wait), Ok(code)) => (timeout, wait, code),
        (Err(complaint), _, _) | (_, Err(complaint), _) => return answer(StatusCode::OK, complaint),
        (_, _, Err(_)) => {
            let complaint = format!("argument 'code' must be an integer [0-127] or empty, got {code:?}\n");
            return answer(StatusCode::OK, complaint);
        }
    };
    say(format!(
        "Will begin shutdown in {wait:?}, allowing {timeout:?} for connections to close, then will exit with {code}"
    ));
    tokio::time::sleep(wait).await;
    if timeout.is_zero() {
        std::process::exit(i32::from(code));
    }
    state.exit.set(Some((code, timeout)));
    state.stop.cancel();
    answer(StatusCode::OK, "")
}

async fn shell(exchange: &Exchange) -> Answer {
    let older = exchange.parameter("shellCommand");
    let command = if older.is_empty() { exchange.parameter("cmd") } else { older };
    // One descriptor for both streams keeps the order in which the command wrote to them.
    let wrapped = format!("exec 2>&1\n{command}");
    let ran = tokio::process::Command::new("/bin/sh").arg("-c").arg(wrapped).output().await;
    let mut result = Map::new();
    match ran {
        Err(error) => drop(result.insert("error".to_owned(), json!(error.to_string()))),
        Ok(output) => {
            if !output.stdout.is_empty() {
                result.insert("output".to_owned(), json!(String::from_utf8_lossy(&output.stdout)));
            }
            if let Some(code) = output.status.code().filter(|&code| code != 0) {
                result.insert("error".to_owned(), json!(format!("exit status {code}")));
            }
        }
    }
    answer(StatusCode::OK, Value::Object(result).to_string())
}

async fn serve_udp(state: Rc<State>, address: IpAddr, port: u16) {
    let bound = match UdpSocket::bind((address, port)).await {
        Err(_) if address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await,
        bound => bound,
    };
    let socket = match bound {
        Ok(socket) => socket,
        Err(error) => {
            say(format!("Error occurred: failed to create listener for UDP address {address}:{port}:{error}"));
            std::process::exit(1);
        }
    };
    say(format!("Started UDP server on port  {port}"));
    state.udp_ready.set(true);
    let mut buffer = vec![0; 2048];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        let plain = http::plain(client);
        if let Some(reply) = udp_reply(&String::from_utf8_lossy(&buffer[..length]), &plain.to_string()) {
            say(format!("Answering UDP client {plain}"));
            // The client may be gone by now.
            let _ = socket.send_to(reply.as_bytes(), client).await;
        }
    }
    say("UDP server exited");
    state.udp_ready.set(false);
}

/// What the UDP server answers to `request`; nothing to what it does not know.
fn udp_reply(request: &str, client: &str) -> Option<String> {
    let request = request.trim().to_lowercase();
    match request.as_str() {
        "hostname" => Some(host_name()),
        "clientip" => Some(client.to_owned()),
        other => other.strip_prefix("echo ").map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_udp_server_knows_three_requests() {
        assert_eq!(udp_reply("ClientIP\n", "10.0.0.1:5"), Some("10.0.0.1:5".to_owned()));
        assert_eq!(udp_reply("echo Hello World", ""), Some("hello world".to_owned()));
        assert_eq!(udp_reply("hostname", ""), Some(host_name()));
        assert_eq!(udp_reply("what", ""), None);
    }

    #[test]
    fn a_negative_udp_port_switches_the_udp_server_off() {
        let settings = Settings::parse(&["--udp-port=-1".to_owned(), "--http-port=80".to_owned()]).unwrap();
        assert_eq!((settings.udp_port, settings.http_port), (None, 80));
    }

    #[test]
    fn a_bad_status_code_is_complained_about_in_the_originals_words() {
        let complaint = status_from("abc", StatusCode::OK).unwrap_err();
        assert_eq!(complaint, "argument 'code' must be an integer or empty, got \"abc\"\n");
    }
}
