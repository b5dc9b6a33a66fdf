//! A cluster without nodes: an API server in this process, and Services in it.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use apiserver::client::{Client, ENDPOINT_SLICES, Gvr, NAMESPACES, SERVICES};
use apiserver::tls::{Authority, Kubeconfig, ServerName};
use apiserver::{Config, Durability, Limits, Listener, NoNodes, Running, Server, Version};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A cluster without nodes.
pub struct World {
    pub folder: TempDir,
    runtime: Runtime,
    client: Client,
    _server: Running,
}

impl World {
    /// Starts the API server and fills it with `services` ordinary Services and some odd ones.
    pub fn start(services: usize) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("fwbench-dns").tempdir()?;
        let (runtime, authority) = (Runtime::new()?, Authority::create(Timestamp::now())?);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let socket = folder.path().join("api.sock");
        let listeners = vec![
            Listener::Unix(UnixListener::bind(&socket)?),
            Listener::Tls(listener, authority.server_config(&[ServerName::Ip(address.ip())])?),
        ];
        let config = Config {
            database: folder.path().join("db"),
            durability: Durability::Process,
            listeners,
            token_key: authority.token_key()?,
            authority_pem: authority.certificate_pem().to_owned(),
            advertise: SocketAddr::new("10.89.0.1".parse()?, address.port()),
            service_cidrs: vec!["10.96.0.0/12".parse()?],
            node_ports: 30000..=32767,
            nodes: Arc::new(NoNodes),
            version: Version { git_version: "v1.36.0+fairway".into() },
            clock: Arc::new(Timestamp::now),
            limits: Limits::default(),
        };
        let server = runtime.block_on(Server::start(config))?;
        let certificate = authority.client_certificate("bench", &["system:masters"])?;
        let kubeconfig = Kubeconfig {
            name: "bench",
            server: &format!("https://{address}"),
            authority_pem: authority.certificate_pem(),
            client: &certificate,
        };
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig.render())?;
        let world = Self { folder, runtime, client: Client::unix(socket), _server: server };
        world.fill(services)?;
        Ok(world)
    }

    /// Where servers learn how to reach the API server.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    fn fill(&self, services: usize) -> Result<()> {
        for namespace in ["shop", "empty"] {
            self.create(&NAMESPACES, "", &json!({ "metadata": { "name": namespace } }))?;
        }
        let dns = json!([{ "name": "dns", "protocol": "UDP", "port": 53 }, { "name": "dns-tcp", "port": 53 }]);
        self.service("kube-system", "kube-dns", &json!({ "clusterIP": "10.96.0.10", "ports": dns }))?;
        for index in 0..services {
            let name = format!("web-{index}");
            self.service("default", &name, &json!({ "ports": [{ "name": "http", "port": 80 }] }))?;
            let address = format!("10.244.{}.{}", index / 250 % 250, index % 250 + 1);
            self.slice("default", &name, &[("http", 8080)], &[json!({ "addresses": [address] })])?;
        }
        self.fill_shop()
    }

    /// One of each kind of Service.
    fn fill_shop(&self) -> Result<()> {
        let web = json!([{ "name": "http", "port": 80 }, { "name": "admin", "port": 9000 }]);
        self.service("shop", "cart", &json!({ "clusterIP": "10.96.77.7", "ports": web }))?;
        self.slice("shop", "cart", &[("http", 8080), ("admin", 9000)], &[json!({ "addresses": ["10.245.1.9"] })])?;
        self.service("shop", "plain", &json!({ "clusterIP": "10.96.77.8", "ports": [{ "port": 80 }] }))?;
        let sql = json!([{ "name": "sql", "port": 5432 }]);
        self.service("shop", "db", &json!({ "clusterIP": "None", "ports": sql }))?;
        let endpoints = [
            json!({ "addresses": ["10.245.1.5"], "hostname": "db-0", "conditions": { "ready": true } }),
            json!({ "addresses": ["10.245.2.6"], "conditions": { "ready": true } }),
            json!({ "addresses": ["10.245.2.7"], "hostname": "db-2", "conditions": { "ready": false } }),
        ];
        self.slice("shop", "db", &[("sql", 15432)], &endpoints)?;
        self.service("shop", "nobody", &json!({ "clusterIP": "None", "ports": sql }))?;
        for (name, target) in [
            ("mail", "gate.example.com"),
            ("basket", "cart.shop.svc.cluster.local"),
            ("lost", "gone.shop.svc.cluster.local"),
            ("nowhere", "missing.example.net"),
        ] {
            self.service("shop", name, &json!({ "type": "ExternalName", "externalName": target }))?;
        }
        let crowd: Vec<Value> = (0..100).map(|index| json!({ "addresses": [format!("10.246.0.{index}")] })).collect();
        self.service("shop", "crowd", &json!({ "clusterIP": "None", "ports": sql }))?;
        self.slice("shop", "crowd", &[("sql", 5432)], &crowd)
    }

    fn service(&self, namespace: &str, name: &str, spec: &Value) -> Result<()> {
        self.create(&SERVICES, namespace, &json!({ "metadata": { "name": name }, "spec": spec }))
    }

    fn slice(&self, namespace: &str, service: &str, ports: &[(&str, u16)], endpoints: &[Value]) -> Result<()> {
        let ports: Vec<Value> =
            ports.iter().map(|(name, port)| json!({ "name": name, "port": port, "protocol": "TCP" })).collect();
        let labels = json!({ "kubernetes.io/service-name": service });
        let slice = json!({
            "metadata": { "name": format!("{service}-1"), "labels": labels },
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": endpoints,
        });
        self.create(&ENDPOINT_SLICES, namespace, &slice)
    }

    fn create(&self, gvr: &Gvr, namespace: &str, object: &Value) -> Result<()> {
        self.runtime.block_on(self.client.create(gvr, namespace, object))?;
        Ok(())
    }
}
