//! `fairway peers`

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cli::{Output, PeersArgs};
use crate::output::columns;
use crate::peers::{PAGE, PeerList};

/// Exit code of a command that could not tell.
const COULD_NOT_TELL: u8 = 3;
/// How long an agent on the same machine may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shows how this node reaches the others' pods; exit code 1 when some are not reached.
pub fn run(args: &PeersArgs) -> Result<ExitCode> {
    let list = match ask(args.agent) {
        Ok(list) => list,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(COULD_NOT_TELL));
        }
    };
    match args.output {
        Output::Json => say!("{}", serde_json::to_string_pretty(&list)?),
        Output::Table => print(&list),
    }
    Ok(if list.unreached().next().is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the agent at `address` has in force.
pub fn ask(address: SocketAddr) -> Result<PeerList> {
    let answer = get(address, PAGE).with_context(|| {
        format!("no agent answers at {address}; run this on a node, or name the address of its pages with --agent")
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the agent's answer is not HTTP")?;
    match head.split_whitespace().nth(1) {
        Some("200") => serde_json::from_str(body).context("the agent is of another version than this program"),
        Some("503") => bail!("the agent is not ready: {}", body.trim()),
        Some("404") => bail!("the agent is of a version that does not tell"),
        _ => bail!("the agent answered {:?}", head.lines().next().unwrap_or_default()),
    }
}

fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn print(list: &PeerList) {
    say!("Node {}, routing {}", list.node, list.routing);
    if list.items.is_empty() {
        return say!("It is the only node.");
    }
    let rows: Vec<Vec<String>> = list
        .items
        .iter()
        .map(|peer| {
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            vec![
                peer.node.clone(),
                or_dash(peer.pods.clone()),
                peer.way.name().to_owned(),
                or_dash(peer.to.map(|to| to.to_string())),
                or_dash(peer.mtu.map(|mtu| mtu.to_string())),
                peer.reason.clone(),
            ]
        })
        .collect();
    columns(&["NODE", "PODS", "WAY", "TO", "MTU", "WHY"], &rows);
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use compile::RoutingMode;

    use super::*;

    /// An agent that answers the same once; what it is asked is judged by `ask` alone.
    fn agent(answer: String) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 512];
            let len = stream.read(&mut asked).unwrap();
            assert!(asked[..len].starts_with(b"GET /peers HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn an_answer_is_read_and_what_is_none_is_explained() {
        let list = PeerList::of("node1", RoutingMode::Auto, []);
        let page = format!("HTTP/1.1 200 OK\r\n\r\n{}", serde_json::to_string(&list).unwrap());
        assert_eq!(ask(agent(page)).unwrap(), list);
        let why = |answer: &str| format!("{:#}", ask(agent(answer.to_owned())).unwrap_err());
        assert_eq!(why("HTTP/1.1 503 No\r\n\r\nnothing yet\n"), "the agent is not ready: nothing yet");
        assert_eq!(why("HTTP/1.1 404 No\r\n\r\n"), "the agent is of a version that does not tell");
        assert!(why("HTTP/1.1 200 OK\r\n\r\n{}").starts_with("the agent is of another version"));
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(format!("{:#}", ask(nobody).unwrap_err()).contains("--agent"));
    }
}
