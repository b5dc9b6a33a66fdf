//! How a role is told where the API server is.

use std::path::PathBuf;

use kubeapi::ApiAccess;

/// Where the API server is. By default what a pod is given: KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT and the
/// files of its service account.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ApiArgs {
    /// Kubeconfig file to use instead of the pod's service account.
    #[arg(long, value_name = "FILE", env = "FAIRWAY_KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig file, if not its current one.
    #[arg(long, value_name = "NAME", env = "FAIRWAY_CONTEXT", requires = "kubeconfig")]
    context: Option<String>,
    /// URL of the API server to use instead of the one found, with the credentials found.
    #[arg(long, value_name = "URL", env = "FAIRWAY_API_SERVER")]
    api_server: Option<String>,
}

impl ApiArgs {
    /// The access they describe.
    pub fn access(&self) -> ApiAccess {
        ApiAccess {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            server: self.api_server.clone(),
        }
    }
}
