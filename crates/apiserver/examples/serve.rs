//! A standalone API server: objects and no nodes. Drive it with kubectl:
//!
//! ```sh
//! cargo run -p apiserver --example serve -- /tmp/api
//! kubectl --kubeconfig /tmp/api/kubeconfig create deployment web --image=nginx --replicas=3
//! ```

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use apiserver::tls::{Authority, Kubeconfig, ServerName};
use apiserver::{Config, Durability, Limits, Listener, Server, UnixNodes, Version};
use jiff::Timestamp;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let directory = PathBuf::from(std::env::args().nth(1).ok_or("which directory shall the cluster live in?")?);
    std::fs::create_dir_all(&directory)?;
    let authority = Authority::load_or_create(&directory.join("pki"), Timestamp::now())?;
    let tcp = TcpListener::bind("127.0.0.1:0")?;
    let address: SocketAddr = tcp.local_addr()?;
    let socket = directory.join("apiserver.sock");
    if socket.exists() {
        std::fs::remove_file(&socket)?;
    }
    let names = [ServerName::Ip(address.ip()), ServerName::Dns("localhost".into())];
    let listeners =
        vec![Listener::Tls(tcp, authority.server_config(&names)?), Listener::Unix(UnixListener::bind(&socket)?)];
    let server = Server::start(Config {
        database: directory.join("objects.redb"),
        durability: Durability::Machine,
        listeners,
        token_key: authority.token_key()?,
        authority_pem: authority.certificate_pem().to_owned(),
        advertise: SocketAddr::from(([10, 89, 0, 254], 6443)),
        service_cidrs: vec!["10.96.0.0/16".parse()?],
        node_ports: 30000..=32767,
        nodes: Arc::new(UnixNodes::new(directory.join("nodes"))),
        version: Version { git_version: "v1.36.0+example".into() },
        clock: Arc::new(Timestamp::now),
        limits: Limits::default(),
    })
    .await?;
    let kubeconfig = directory.join("kubeconfig");
    let admin = authority.client_certificate("kubernetes-admin", &["system:masters"])?;
    let text = Kubeconfig {
        name: "example",
        server: &format!("https://{address}"),
        authority_pem: authority.certificate_pem(),
        client: &admin,
    }
    .render();
    std::fs::write(&kubeconfig, text)?;
    println!("kubectl --kubeconfig {} get all -A", kubeconfig.display());
    tokio::signal::ctrl_c().await?;
    server.stop().await;
    Ok(())
}
