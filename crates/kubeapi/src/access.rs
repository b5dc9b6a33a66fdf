//! Finding the API server and the right to talk to it.

use std::path::PathBuf;

use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

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
        let mut config = match &self.kubeconfig {
            Some(path) => self.read_kubeconfig(path).await?,
            None => Config::incluster_env().map_err(|source| ConnectError::InCluster { source })?,
        };
        if let Some(server) = &self.server {
            config.cluster_url = server.parse().map_err(|_| ConnectError::Server { server: server.clone() })?;
        }
        let url = config.cluster_url.to_string();
        Client::try_from(config).map_err(|source| ConnectError::Client { url, source: Box::new(source) })
    }

    async fn read_kubeconfig(&self, path: &std::path::Path) -> Result<Config, ConnectError> {
        let refuse = |source| ConnectError::Kubeconfig { path: path.into(), source };
        let kubeconfig = Kubeconfig::read_from(path).map_err(refuse)?;
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(refuse)
    }
}
