//! Stand-ins for well-known web servers: a page that says which pod on which node answered, or the files of a volume.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitCode};

use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::http::{Answer, Exchange, answer};
use super::{http, journal};

/// Where a container finds the name of its node.
pub const NODE_NAME_FILE: &str = "/opt/fairway/node";

/// What one server is called, where it listens and where the real one keeps its files.
#[derive(Clone, Copy)]
struct Server {
    name: &'static str,
    port: u16,
    files: &'static str,
}

/// Runs `nginx`, whatever its arguments: they configure the real one.
pub fn nginx(arguments: &[String]) -> ExitCode {
    if arguments.iter().any(|argument| argument == "-v" || argument == "-V") {
        eprintln!("nginx version: nginx/1.27 (Fairway's stand-in)");
        return ExitCode::SUCCESS;
    }
    serve_pages(Server { name: "nginx", port: 80, files: "/usr/share/nginx/html" })
}

/// Runs `httpd-foreground`.
pub fn httpd(_: &[String]) -> ExitCode {
    serve_pages(Server { name: "httpd", port: 80, files: "/usr/local/apache2/htdocs" })
}

/// Runs `caddy run`.
pub fn caddy(_: &[String]) -> ExitCode {
    serve_pages(Server { name: "caddy", port: 80, files: "/usr/share/caddy" })
}

/// Runs the command that follows, as the entry point script of the nginx image does.
pub fn docker_entrypoint(arguments: &[String]) -> ExitCode {
    let Some((program, rest)) = arguments.split_first() else { return ExitCode::SUCCESS };
    let error = Command::new(program).args(rest).exec();
    eprintln!("/docker-entrypoint.sh: {program}: {error}");
    ExitCode::from(127)
}

/// Runs `whoami [--port 80]`: host name, addresses and the request as received.
pub fn whoami(arguments: &[String]) -> ExitCode {
    let port = super::flags::Flags::parse(arguments, &["port", "name"], &["verbose"])
        .and_then(|flags| flags.value("port", 80));
    match port {
        Ok(port) => http::run(serve(port, "whoami", |exchange| async move { introduce(&exchange) })),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Runs `hello-app`: a greeting with the host name on the port `PORT` names, 8080 by default.
pub fn hello_app(_: &[String]) -> ExitCode {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    http::run(serve(port, "hello-app", |exchange| async move {
        journal::say(format!("Serving request: {}", exchange.uri.path()));
        answer(StatusCode::OK, format!("Hello, world!\nVersion: 1.0.0\nHostname: {}\n", journal::host_name()))
    }))
}

fn serve_pages(server: Server) -> ExitCode {
    http::run(serve(server.port, server.name, move |exchange| async move {
        let answer = page_for(&server, &exchange);
        log_access(&exchange, &answer);
        answer
    }))
}

async fn serve<H, F>(port: u16, name: &str, handler: H) -> ExitCode
where
    H: Fn(Exchange) -> F + 'static,
    F: Future<Output = Answer> + 'static,
{
    let listener = match http::listen(port).await {
        Ok(listener) => listener,
        Err(error) => {
            journal::say(format!("{name}: bind() to 0.0.0.0:{port} failed ({error})"));
            return ExitCode::FAILURE;
        }
    };
    journal::say(format!("{name}: listening on port {port}"));
    let stop = CancellationToken::new();
    let ended = ended_by_signal(stop.clone());
    tokio::join!(http::serve(listener, stop, handler), ended);
    ExitCode::SUCCESS
}

/// Cancels `stop` when a signal asks this program to end; a second one ends it at once.
pub async fn ended_by_signal(stop: CancellationToken) {
    let kinds = [SignalKind::terminate(), SignalKind::quit(), SignalKind::interrupt()];
    let (Ok(mut terminate), Ok(mut quit), Ok(mut interrupt)) = (signal(kinds[0]), signal(kinds[1]), signal(kinds[2]))
    else {
        return journal::say("cannot listen for signals");
    };
    let mut next =
        async || tokio::select! { _ = terminate.recv() => {}, _ = quit.recv() => {}, _ = interrupt.recv() => {} };
    next().await;
    journal::say("shutting down");
    stop.cancel();
    tokio::task::spawn_local(async {
        ended_again().await;
        std::process::exit(0);
    });
}

async fn ended_again() {
    if let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} };
    }
}

fn page_for(server: &Server, exchange: &Exchange) -> Answer {
    if exchange.method != Method::GET && exchange.method != Method::HEAD {
        return error_page(server, StatusCode::METHOD_NOT_ALLOWED);
    }
    let Some(relative) = safe_relative(&http::decode(exchange.uri.path())) else {
        return error_page(server, StatusCode::BAD_REQUEST);
    };
    let mut file = Path::new(server.files).join(&relative);
    let at_top = relative.as_os_str().is_empty();
    if at_top && is_empty(Path::new(server.files)) {
        return html(server, StatusCode::OK, welcome(server, exchange));
    }
    if file.is_dir() {
        file.push("index.html");
    }
    match fs::read(&file) {
        Ok(content) => {
            let mut answer = answer(StatusCode::OK, content);
            answer.headers_mut().insert("content-type", HeaderValue::from_static(content_type(&file)));
            signed(server, answer)
        }
        Err(_) if at_top => error_page(server, StatusCode::FORBIDDEN),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => error_page(server, StatusCode::FORBIDDEN),
        Err(_) => error_page(server, StatusCode::NOT_FOUND),
    }
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none())
}

/// The path below a server's files that `path` asks for; `None` if it tries to leave them.
fn safe_relative(path: &str) -> Option<PathBuf> {
    let parts = Path::new(path.trim_start_matches('/')).components();
    parts.map(|part| if let Component::Normal(name) = part { Some(name) } else { None }).collect()
}

fn welcome(server: &Server, exchange: &Exchange) -> String {
    let name = server.name;
    let node = fs::read_to_string(NODE_NAME_FILE).unwrap_or_else(|_| "an unknown node".to_owned());
    format!(
        "<!DOCTYPE html>\n<html>\n<head>\n<title>Welcome to {name}!</title>\n</head>\n<body>\n\
         <h1>Welcome to {name}!</h1>\n\
         <p>Answered by pod <b>{}</b> on node <b>{}</b> to {}.</p>\n\
         <p>This page comes from Fairway's stand-in for {name}; mount a volume at {} to serve your own.</p>\n\
         </body>\n</html>\n",
        journal::host_name(),
        node.trim(),
        exchange.remote.ip(),
        server.files
    )
}

fn error_page(server: &Server, status: StatusCode) -> Answer {
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let name = server.name;
    let body = format!(
        "<html>\n<head><title>{title}</title></head>\n<body>\n<center><h1>{title}</h1></center>\n<hr><center>{name}</center>\n</body>\n</html>\n"
    );
    html(server, status, body)
}

fn html(server: &Server, status: StatusCode, body: String) -> Answer {
    let mut page = answer(status, body);
    page.headers_mut().insert("content-type", HeaderValue::from_static("text/html"));
    signed(server, page)
}

fn signed(server: &Server, mut answer: Answer) -> Answer {
    answer.headers_mut().insert("server", HeaderValue::from_static(server.name));
    answer
}

fn content_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "html" | "htm" => "text/html",
        "css" => "text/css",
        "js" | "mjs" => "application/javascript",
        "json" => "application/json",
        "txt" | "md" => "text/plain",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "ico" => "image/x-icon",
        _ => "application/octet-stream",
    }
}

fn log_access(exchange: &Exchange, answer: &Answer) {
    use hyper::body::Body;
    let header = |name| exchange.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
    println!(
        "{} - - [{}] \"{} {} HTTP/1.1\" {} {} \"{}\" \"{}\" \"{}\"",
        exchange.remote.ip(),
        jiff::Zoned::now().strftime("%d/%b/%Y:%H:%M:%S %z"),
        exchange.method,
        exchange.uri,
        answer.status().as_u16(),
        answer.body().size_hint().exact().unwrap_or_default(),
        header("referer"),
        header("user-agent"),
        header("x-forwarded-for"),
    );
}

fn introduce(exchange: &Exchange) -> Answer {
    let mut lines = vec![format!("Hostname: {}", journal::host_name())];
    let addresses = nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(|interface| interface.address);
    lines.extend(addresses.filter_map(|address| {
        let v4 = address.as_sockaddr_in().map(|v4| v4.ip().to_string());
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().to_string())).map(|ip| format!("IP: {ip}"))
    }));
    lines.push(format!("RemoteAddr: {}", exchange.remote));
    lines.push(format!("{} {} HTTP/1.1", exchange.method, exchange.uri));
    let headers = exchange.headers.iter();
    lines.extend(
        headers.map(|(name, value)| format!("{}: {}", title_case(name.as_str()), value.to_str().unwrap_or("?"))),
    );
    answer(StatusCode::OK, lines.join("\n") + "\n\n")
}

/// `user-agent` as people are used to see it: `User-Agent`.
pub fn title_case(header: &str) -> String {
    let words = header.split('-').map(|word| {
        let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        first.to_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_the_files() {
        assert_eq!(safe_relative("/a/b.html"), Some(PathBuf::from("a/b.html")));
        assert_eq!(safe_relative("/../etc/passwd"), None);
        assert_eq!(safe_relative("/"), Some(PathBuf::new()));
    }

    #[test]
    fn header_names_look_usual() {
        assert_eq!(title_case("x-forwarded-for"), "X-Forwarded-For");
    }
}
