//! netexec's `/dial`: asks another server several times and reports every answer.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Map, Value, json};
use tokio::net::UdpSocket;

use super::super::http::{self, Answer, Exchange, answer};

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Protocol {
    Http,
    Udp,
}

/// Answers `/dial?host=H&port=P&request=R&protocol=http|udp&tries=N`.
pub async fn respond(exchange: &Exchange) -> Answer {
    let bad = |complaint: String| answer(StatusCode::BAD_REQUEST, complaint + "\n");
    let tries = exchange.parameter("tries");
    let Ok(tries) = (if tries.is_empty() { Ok(1) } else { tries.parse::<u32>() }) else {
        return bad(format!("tries parameter is invalid. strconv.Atoi: parsing {tries:?}: invalid syntax"));
    };
    let request = exchange.parameter("request");
    if request.is_empty() {
        return bad("request parameter not specified. <nil>".to_owned());
    }
    let protocol = match exchange.parameter("protocol").to_lowercase().as_str() {
        "" | "http" => Protocol::Http,
        "udp" => Protocol::Udp,
        other => return bad(format!("unsupported protocol. {other}")),
    };
    let (host, port) = (exchange.parameter("host"), exchange.parameter("port"));
    let address = match resolve(&host, &port).await {
        Ok(address) => address,
        Err(error) => return bad(format!("host and/or port param are invalid. {error}")),
    };
    let (mut responses, mut errors) = (Vec::new(), Vec::new());
    let mut last_answered = false;
    for _ in 0..tries {
        let attempt = match protocol {
            Protocol::Http => dial_http(address, &request).await,
            Protocol::Udp => dial_udp(address, &request).await,
        };
        last_answered = attempt.as_ref().is_ok_and(|response| !response.is_empty());
        match attempt {
            Ok(response) => responses.push(response),
            Err(error) => errors.push(error),
        }
    }
    answer(StatusCode::OK, report(last_answered.then_some(&responses[..]), &errors).to_string())
}

fn report(responses: Option<&[String]>, errors: &[String]) -> Value {
    let mut output = Map::new();
    if !errors.is_empty() {
        output.insert("errors".to_owned(), json!(errors));
    }
    if let Some(responses) = responses {
        output.insert("responses".to_owned(), json!(responses));
    }
    Value::Object(output)
}

async fn resolve(host: &str, port: &str) -> Result<SocketAddr, String> {
    let port: u16 = port.parse().map_err(|_| format!("address {port:?}: invalid port"))?;
    let mut found = tokio::net::lookup_host((host, port)).await.map_err(|error| error.to_string())?;
    found.next().ok_or_else(|| format!("lookup {host}: no such host"))
}

async fn dial_http(address: SocketAddr, request: &str) -> Result<String, String> {
    let failed = |error: &str| format!("Get \"http://{address}/{request}\": {error}");
    match tokio::time::timeout(PATIENCE, http::get(address, &address.to_string(), &format!("/{request}"))).await {
        Ok(Ok((_, body))) => Ok(body),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(failed("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")),
    }
}

async fn dial_udp(address: SocketAddr, request: &str) -> Result<String, String> {
    let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let failed = |what: &str, error: &str| format!("{what} failed. err:{error}");
    let socket = UdpSocket::bind(local).await.map_err(|error| failed("udp dial", &error.to_string()))?;
    socket.connect(address).await.map_err(|error| failed("udp dial", &error.to_string()))?;
    socket.send(request.as_bytes()).await.map_err(|error| failed("udp connection write", &error.to_string()))?;
    let mut buffer = vec![0; 2048];
    match tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await {
        Ok(Ok(length)) if length > 0 => Ok(String::from_utf8_lossy(&buffer[..length]).into_owned()),
        Ok(Ok(_)) => Err(failed("reading from udp connection", "'empty answer'")),
        Ok(Err(error)) => Err(failed("reading from udp connection", &format!("'read udp {address}: {error}'"))),
        Err(_) => Err(failed("reading from udp connection", &format!("'read udp {address}: i/o timeout'"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_leaves_out_what_is_empty() {
        assert_eq!(report(Some(&["a".to_owned()]), &[]).to_string(), r#"{"responses":["a"]}"#);
        assert_eq!(report(None, &["e".to_owned()]).to_string(), r#"{"errors":["e"]}"#);
    }
}
