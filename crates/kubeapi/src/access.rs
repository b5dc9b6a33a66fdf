//! Finding the API server and the right to talk to it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::http::uri::InvalidUri;
use kube::client::ClientBuilder;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use crate::observe::{Observe, RequestObserver};

/// How long a person waits for a connection, and then for an answer, before it counts as none.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));

/// A role's connection on which nothing came for so long is dead, whatever waits for it: a watch hears something once a
/// minute, as the API server sends it a bookmark if nothing else, and no single answer takes as long.
const SILENCE: Duration = Duration::from_secs(75);

/// How to reach the API server. The default is what a pod gets: the address in `KUBERNETES_SERVICE_HOST` and
/// `KUBERNETES_SERVICE_PORT`, and the files of its service account.
#[derive(Clone, Debug, Default)]
pub struct ApiAccess {
    /// A kubeconfig file to use instead.
    pub kubeconfig: Option<PathBuf>,
    /// Which context of the kubeconfig to use instead of its current one.
    pub context: Option<String>,
    /// A URL to use instead of the one found, with the credentials found: nodes must reach the API server by its real
    /// address before there are Services.
    pub server: Option<String>,
}

/// A person's connection to a cluster.
#[derive(Clone)]
pub struct Session {
    /// The connection.
    pub client: Client,
    /// The API server's host as the kubeconfig has it: an address or a name.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig file cannot be used.
    #[error("cannot use kubeconfig {}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: KubeconfigError,
    },
    /// There is no kubeconfig where kubectl would look.
    #[error("no cluster: cannot use $KUBECONFIG or ~/.kube/config; name a file with --kubeconfig")]
    NoKubeconfig {
        /// Why not.
        source: KubeconfigError,
    },
    /// There is neither a kubeconfig nor a service account.
    #[error("cannot use the pod's service account; outside a pod, name a kubeconfig file")]
    InCluster {
        /// What is missing.
        source: InClusterError,
    },
    /// The server's URL is not one.
    #[error("{server:?} is not the URL of an API server; one looks like https://10.0.0.1:6443")]
    Server {
        /// The text given.
        server: String,
        /// Why not.
        source: InvalidUri,
    },
    /// The credentials or certificates cannot be used.
    #[error("cannot make a client for {url}")]
    Client {
        /// The API server.
        url: String,
        /// Why not.
        source: Box<kube::Error>,
    },
}

impl ApiAccess {
    /// A client for the API server. Nothing is sent yet; the server need not be up.
    pub async fn connect(&self) -> Result<Client, ConnectError> {
        let (config, url) = self.config().await?;
        Client::try_from(config).map_err(|source| ConnectError::Client { url, source: Box::new(source) })
    }

    /// The same, of whose requests somebody is told.
    pub async fn connect_observed(&self, observer: Arc<dyn RequestObserver>) -> Result<Client, ConnectError> {
        let (config, url) = self.config().await?;
        let host = config.cluster_url.authority().map(hyper::http::uri::Authority::as_str).unwrap_or_default().into();
        let builder = ClientBuilder::try_from(config);
        let builder = builder.map_err(|source| ConnectError::Client { url, source: Box::new(source) })?;
        Ok(builder.with_layer(&Observe { observer, host }).build())
    }

    /// What a role connects by, and the server's URL.
    async fn config(&self) -> Result<(Config, String), ConnectError> {
        let mut config = match &self.kubeconfig {
            Some(path) => self.read_kubeconfig(path).await?,
            None => Config::incluster_env().map_err(|source| ConnectError::InCluster { source })?,
        };
        if let Some(server) = &self.server {
            let refuse = |source| ConnectError::Server { server: server.clone(), source };
            config.cluster_url = server.parse().map_err(refuse)?;
        }
        // A request on a connection that was idle has all of the time.
        (config.read_timeout, config.reset_reader_on_write) = (Some(SILENCE), true);
        let url = config.cluster_url.to_string();
        Ok((config, url))
    }

    /// A connection with the kubeconfig that kubectl would use, where none is named. Nothing is sent yet.
    pub async fn connect_as_user(&self) -> Result<Session, ConnectError> {
        let mut config = match &self.kubeconfig {
            Some(path) => self.read_kubeconfig(path).await?,
            None => {
                let refuse = |source| ConnectError::NoKubeconfig { source };
                let kubeconfig = Kubeconfig::read().map_err(refuse)?;
                Config::from_custom_kubeconfig(kubeconfig, &self.options()).await.map_err(refuse)?
            }
        };
        (config.connect_timeout, config.read_timeout) = (Some(PATIENCE.0), Some(PATIENCE.1));
        let url = config.cluster_url.clone();
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let usual_port = if url.scheme_str() == Some("http") { 80 } else { 443 };
        let port = url.port_u16().unwrap_or(usual_port);
        let refuse = |source| ConnectError::Client { url: url.to_string(), source: Box::new(source) };
        Ok(Session { client: Client::try_from(config).map_err(refuse)?, host, port })
    }

    fn options(&self) -> KubeConfigOptions {
        KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() }
    }

    async fn read_kubeconfig(&self, path: &std::path::Path) -> Result<Config, ConnectError> {
        let refuse = |source| ConnectError::Kubeconfig { path: path.into(), source };
        let kubeconfig = Kubeconfig::read_from(path).map_err(refuse)?;
        Config::from_custom_kubeconfig(kubeconfig, &self.options()).await.map_err(refuse)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;
    use kube::Api;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_falls_silent_is_noticed_while_it_is_asked_and_watched() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("config");
        let server = format!("http://{}", listener.local_addr().unwrap());
        let text = format!(
            "{{clusters: [{{name: c, cluster: {{server: '{server}'}}}}], contexts: [{{name: c, context: {{cluster: c, user: c}}}}], \
             current-context: c, users: [{{name: c, user: {{}}}}]}}"
        );
        std::fs::write(&kubeconfig, text).unwrap();
        let access = ApiAccess { kubeconfig: Some(kubeconfig), ..ApiAccess::default() };
        let nodes: Api<Node> = Api::all(access.connect().await.unwrap());
        let asked = tokio::time::Instant::now();
        let accept = async { listener.accept().await.unwrap() };
        let (answer, _connection) = tokio::join!(nodes.get("n1"), accept);
        assert!(answer.is_err());
        assert_eq!(asked.elapsed().as_secs(), SILENCE.as_secs());
    }
}
