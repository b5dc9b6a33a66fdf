//! What every namespace has from the start: the default ServiceAccount and the cluster's root certificate.

use std::sync::Arc;

use apiserver::client::{ClientError, ObjectKey};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{
    kind::Kind,
    stores::Stores,
    worker::{Next, Reconcile},
    write::{Write, Writer},
};

const DEFAULT_ACCOUNT: &str = "default";
/// The ConfigMap in which pods find it.
pub(super) const ROOT_CERTIFICATE: &str = "kube-root-ca.crt";

/// Furnishes namespaces.
pub(super) struct AccountController {
    pub(super) stores: Stores,
    pub(super) writer: Writer,
    /// PEM of the certificate authority pods are to trust.
    pub(super) ca_certificate: Arc<str>,
}

impl Reconcile for AccountController {
    type Key = ObjectKey;
    const NAME: &'static str = "serviceaccount-controller";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ClientError> {
        let Some(namespace) = self.stores.namespaces.lookup(key) else { return Ok(Next::OnChange) };
        let account = self.stores.service_accounts.get(&key.name, DEFAULT_ACCOUNT);
        let certificate = self.stores.config_maps.get(&key.name, ROOT_CERTIFICATE);
        for write in plan(&namespace, account.as_deref(), certificate.as_deref(), &self.ca_certificate) {
            match self.writer.apply(write).await {
                Err(error) if error.is_already_exists() => {}
                result => result.map(drop)?,
            }
        }
        Ok(Next::OnChange)
    }
}

fn plan(
    namespace: &Namespace,
    account: Option<&ServiceAccount>,
    certificate: Option<&ConfigMap>,
    ca_certificate: &str,
) -> Vec<Write> {
    if namespace.is_terminating() {
        return Vec::new();
    }
    let metadata = |name: &str| ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.metadata.name.clone(),
        ..ObjectMeta::default()
    };
    let mut writes = Vec::new();
    if account.is_none() {
        let account = ServiceAccount { metadata: metadata(DEFAULT_ACCOUNT), ..ServiceAccount::default() };
        writes.push(Write::create(&account));
    }
    let data = Some([("ca.crt".to_owned(), ca_certificate.to_owned())].into());
    match certificate {
        None => {
            let metadata = metadata(ROOT_CERTIFICATE);
            writes.push(Write::create(&ConfigMap { metadata, data, ..ConfigMap::default() }));
        }
        Some(present) => writes.extend(Write::update(present, &ConfigMap { data, ..present.clone() })),
    }
    writes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn namespace() -> Namespace {
        serde_json::from_value(json!({"metadata": {"name": "shop"}})).unwrap()
    }

    fn names(writes: &[Write]) -> Vec<String> {
        let name = |write: &Write| match write {
            Write::Create { object, .. } => format!("create {}", object["metadata"]["name"].as_str().unwrap()),
            Write::Patch { key, .. } => format!("patch {}", key.name),
            Write::Delete { key, .. } => format!("delete {}", key.name),
        };
        writes.iter().map(name).collect()
    }

    #[test]
    fn a_new_namespace_gets_an_account_and_the_certificate() {
        assert_eq!(names(&plan(&namespace(), None, None, "pem")), ["create default", "create kube-root-ca.crt"]);
    }

    #[test]
    fn a_changed_certificate_is_put_right() {
        let metadata = json!({"name": ROOT_CERTIFICATE, "namespace": "shop"});
        let found: ConfigMap =
            serde_json::from_value(json!({"metadata": metadata, "data": {"ca.crt": "old"}})).unwrap();
        let account = ServiceAccount::default();
        assert_eq!(names(&plan(&namespace(), Some(&account), Some(&found), "new")), ["patch kube-root-ca.crt"]);
        assert_eq!(plan(&namespace(), Some(&account), Some(&found), "old"), []);
    }

    #[test]
    fn a_namespace_on_its_way_out_gets_nothing() {
        let ending = json!({"metadata": {"name": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert_eq!(plan(&serde_json::from_value(ending).unwrap(), None, None, "pem"), []);
    }
}
