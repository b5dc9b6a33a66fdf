//! `wget`: fetches a page over HTTP.

use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::http;
use super::flags::ShortFlags;

/// How long every step may take unless `-T` says otherwise: busybox' own choice.
const PATIENCE_SECONDS: u64 = 900;
const MAX_REDIRECTS: u32 = 5;

/// Runs `wget [-q] [-O FILE] [-T SEC] [--header H] [--post-data D] [--spider] URL`.
pub fn main(arguments: &[String]) -> ExitCode {
    let fetch = match Fetch::parse(arguments) {
        Ok(fetch) => fetch,
        Err(message) => {
            eprintln!("wget: {message}");
            return ExitCode::FAILURE;
        }
    };
    http::run(async move {
        match fetch.run().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                eprintln!("wget: {message}");
                ExitCode::FAILURE
            }
        }
    })
}

/// What to fetch, and how.
#[derive(Debug, PartialEq, Eq)]
struct Fetch {
    url: Uri,
    output: Option<String>,
    quiet: bool,
    only_look: bool,
    body: Option<String>,
    headers: Vec<(String, String)>,
    patience: Duration,
}

impl Fetch {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let long = ["output-document", "timeout", "header", "post-data", "user-agent", "tries"];
        let flags = ShortFlags::parse(arguments, "OTUtPY", &long)?;
        let [url] = flags.words.as_slice() else { return Err("usage: wget [-q] [-O FILE] [-T SEC] URL".to_owned()) };
        let header = |line: &String| {
            let (name, value) = line.split_once(':').ok_or_else(|| format!("bad header '{line}'"))?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        };
        Ok(Self {
            url: parse_url(url)?,
            output: flags.last(&["O", "output-document"]).map(str::to_owned),
            quiet: flags.has(&["q", "quiet"]),
            only_look: flags.has(&["spider"]),
            body: flags.last(&["post-data"]).map(str::to_owned),
            headers: flags.all("header").iter().map(header).collect::<Result<_, String>>()?,
            patience: Duration::from_secs(flags.number(&["T", "timeout"], PATIENCE_SECONDS)?),
        })
    }

    async fn run(&self) -> Result<(), String> {
        let mut url = self.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = timeout(self.patience, self.request(&url)).await.map_err(|_| timed_out())??;
            match (response.status(), response.headers().get(LOCATION)) {
                (status, Some(place)) if status.is_redirection() => {
                    url = resolve(&url, place.to_str().map_err(|error| error.to_string())?)?;
                }
                (StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NO_CONTENT, _) => {
                    return if self.only_look { Ok(()) } else { self.save(response).await };
                }
                (status, _) => return Err(format!("server returned error: HTTP/1.1 {status}")),
            }
        }
        Err("too many redirections".to_owned())
    }

    async fn request(&self, url: &Uri) -> Result<Response<Incoming>, String> {
        let authority = url.authority().map(ToString::to_string).unwrap_or_default();
        let (host, port) = (url.host().unwrap_or_default(), url.port_u16().unwrap_or(80));
        let stream = self.connect(host.trim_matches(['[', ']']), port).await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        // Ends with the answer's last byte.
        tokio::task::spawn_local(connection);
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let method = if self.body.is_some() { Method::POST } else { Method::GET };
        let mut request = Request::builder().method(method).uri(path).header(HOST, authority);
        request = request.header(USER_AGENT, "Wget").header(CONNECTION, "close");
        if self.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body = Full::<Bytes>::from(self.body.clone().unwrap_or_default());
        let request = request.body(body).map_err(|error| error.to_string())?;
        sender.send_request(request).await.map_err(|error| format!("error getting response: {error}"))
    }

    /// Connects to the first address of the host that takes the connection.
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, String> {
        let addresses: Vec<SocketAddr> =
            (host, port).to_socket_addrs().map_err(|_| format!("bad address '{host}'"))?.collect();
        let mut refused = format!("bad address '{host}'");
        for address in addresses {
            if !self.quiet {
                eprintln!("Connecting to {host} ({address})");
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    refused = format!("can't connect to remote host ({}): {}", address.ip(), plain_words(&error));
                }
            }
        }
        Err(refused)
    }

    async fn save(&self, response: Response<Incoming>) -> Result<(), String> {
        let name = self.output.clone().unwrap_or_else(|| file_name(&self.url));
        let mut sink: Box<dyn Write> = match name.as_str() {
            "-" => Box::new(io::stdout()),
            path => {
                Box::new(File::create(path).map_err(|error| format!("can't open '{path}': {}", plain_words(&error)))?)
            }
        };
        let mut body = response.into_body();
        while let Some(frame) = timeout(self.patience, body.frame()).await.map_err(|_| timed_out())? {
            let frame = frame.map_err(|error| format!("error reading: {error}"))?;
            if let Some(bytes) = frame.data_ref() {
                sink.write_all(bytes).map_err(|error| format!("error writing '{name}': {}", plain_words(&error)))?;
            }
        }
        sink.flush().map_err(|error| plain_words(&error))?;
        if !self.quiet && name != "-" {
            eprintln!("'{name}' saved");
        }
        Ok(())
    }
}

fn timed_out() -> String {
    "download timed out".to_owned()
}

fn parse_url(text: &str) -> Result<Uri, String> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url: Uri = with_scheme.parse().map_err(|_| format!("not an http or ftp url: {text}"))?;
    match url.scheme_str() {
        Some("http") if url.host().is_some() => Ok(url),
        Some("https") => Err("this stand-in for wget speaks http only; use curl where the host has it".to_owned()),
        _ => Err(format!("not an http or ftp url: {text}")),
    }
}

/// Where a redirect from `url` to `place` leads.
fn resolve(url: &Uri, place: &str) -> Result<Uri, String> {
    match (place.starts_with('/'), url.authority()) {
        (true, Some(authority)) => parse_url(&format!("http://{authority}{place}")),
        _ => parse_url(place),
    }
}

fn file_name(url: &Uri) -> String {
    url.path().rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("index.html").to_owned()
}

/// An error as busybox words it: without Rust's error number.
fn plain_words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Fetch, String> {
        Fetch::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_usual_call_is_understood() {
        let fetch = parse("-T2 -qO- http://web:8080/a?b=c").unwrap();
        assert_eq!((fetch.output.as_deref(), fetch.quiet, fetch.patience), (Some("-"), true, Duration::from_secs(2)));
        assert_eq!(fetch.url.to_string(), "http://web:8080/a?b=c");
        assert_eq!(parse("web").unwrap().url.to_string(), "http://web/");
    }

    #[test]
    fn what_cannot_be_fetched_is_refused() {
        assert!(parse("https://web").unwrap_err().contains("http only"));
        assert_eq!(parse("ftp://web").unwrap_err(), "not an http or ftp url: ftp://web");
        assert!(parse("-q").unwrap_err().starts_with("usage"));
    }

    #[test]
    fn redirects_may_be_relative() {
        let url = parse_url("http://web:81/a").unwrap();
        assert_eq!(resolve(&url, "/b").unwrap().to_string(), "http://web:81/b");
        assert_eq!(resolve(&url, "http://other/").unwrap().to_string(), "http://other/");
    }

    #[test]
    fn the_kernels_words_stand_without_their_number() {
        assert_eq!(plain_words(&io::Error::from_raw_os_error(111)), "Connection refused");
    }
}
