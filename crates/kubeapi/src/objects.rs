//! Objects of any kind, as the API has them: for installing, looking around and removing.

use std::fmt;

use kube::api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersion, Request};
use kube::{Client, Resource as _};
use serde_json::Value;

/// A handle to all objects of a cluster.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    manager: String,
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    /// The API group and version, e.g. `apps/v1`.
    pub api_version: String,
    /// Its kind, e.g. `Deployment`.
    pub kind: String,
    /// Its namespace, unless it belongs to the cluster as a whole.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// What applying did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The object is new.
    Created,
    /// The object is other than it was.
    Changed,
    /// The object was so already.
    Unchanged,
}

/// Something could not be done with an object.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The API server does not tell its version.
    #[error("cannot ask the API server for its version")]
    Version {
        /// Why not.
        source: Box<kube::Error>,
    },
    /// An object could not be read.
    #[error("cannot read {object}")]
    Read {
        /// Which.
        object: ObjectName,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// The objects of a kind could not be listed.
    #[error("cannot list {kind}")]
    List {
        /// Their kind.
        kind: String,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// An object could not be applied.
    #[error("cannot apply {object}")]
    Apply {
        /// Which.
        object: ObjectName,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// An object could not be made.
    #[error("cannot create {object}")]
    Create {
        /// Which.
        object: ObjectName,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// An object could not be deleted.
    #[error("cannot delete {object}")]
    Delete {
        /// Which.
        object: ObjectName,
        /// Why not.
        source: Box<kube::Error>,
    },
}

impl ObjectName {
    /// What names `object`; parts that it lacks are empty.
    pub fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            api_version: text(&object["apiVersion"]),
            kind: text(&object["kind"]),
            namespace: object["metadata"]["namespace"].as_str().map(ToOwned::to_owned),
            name: text(&object["metadata"]["name"]),
        }
    }

    fn request(&self) -> Request {
        request(&self.api_version, &self.kind, self.namespace.as_deref())
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

impl Objects {
    /// All objects that `client` may reach; `manager` is noted beside the fields it writes.
    pub fn new(client: Client, manager: &str) -> Self {
        Self { client, manager: manager.to_owned() }
    }

    /// The version of the API server, e.g. `v1.36.3`.
    pub async fn server_version(&self) -> Result<String, ObjectError> {
        let version = self.client.apiserver_version().await;
        let version = version.map_err(|error| ObjectError::Version { source: Box::new(error) })?;
        Ok(version.git_version)
    }

    /// The object, if there is one.
    pub async fn get(&self, name: &ObjectName) -> Result<Option<Value>, ObjectError> {
        let asked = async {
            let request = name.request().get(&name.name, &GetParams::default());
            self.client.request(request.map_err(kube::Error::BuildRequest)?).await
        };
        found(asked.await).map_err(|error| ObjectError::Read { object: name.clone(), source: Box::new(error) })
    }

    /// All objects of a kind with these labels (`""` for all), in one namespace or in all; none of a kind that the API
    /// server does not know.
    pub async fn list(
        &self,
        (api_version, kind): (&str, &str),
        namespace: Option<&str>,
        labels: &str,
    ) -> Result<Vec<Value>, ObjectError> {
        let parameters = ListParams { label_selector: Some(labels.to_owned()), ..ListParams::default() };
        let asked = async {
            let request = request(api_version, kind, namespace).list(&parameters);
            self.client.request(request.map_err(kube::Error::BuildRequest)?).await
        };
        let failed = |error| ObjectError::List { kind: kind.to_owned(), source: Box::new(error) };
        let answer = found(asked.await).map_err(failed)?;
        let mut items = match answer.unwrap_or_default()["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        for item in &mut items {
            // A list says what its items are once for all of them.
            item["apiVersion"] = Value::from(api_version);
            item["kind"] = Value::from(kind);
        }
        Ok(items)
    }

    /// Makes the object's fields be as in `object`, whoever set them before (server-side apply).
    pub async fn apply(&self, object: &Value) -> Result<Applied, ObjectError> {
        let name = ObjectName::of(object);
        let before = self.get(&name).await?;
        let parameters = PatchParams::apply(&self.manager).force();
        let asked = async {
            let request = name.request().patch(&name.name, &parameters, &Patch::Apply(object));
            self.client.request(request.map_err(kube::Error::BuildRequest)?).await
        };
        let after: Value =
            asked.await.map_err(|error| ObjectError::Apply { object: name.clone(), source: Box::new(error) })?;
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        Ok(match before {
            None => Applied::Created,
            Some(before) if version(&before) == version(&after) => Applied::Unchanged,
            Some(_) => Applied::Changed,
        })
    }

    /// Makes a new object and gives it as it is kept.
    pub async fn create(&self, object: &Value) -> Result<Value, ObjectError> {
        let name = ObjectName::of(object);
        let parameters = PostParams { field_manager: Some(self.manager.clone()), ..PostParams::default() };
        let asked = async {
            let request = name.request().create(&parameters, object.to_string().into_bytes());
            self.client.request(request.map_err(kube::Error::BuildRequest)?).await
        };
        asked.await.map_err(|error| ObjectError::Create { object: name.clone(), source: Box::new(error) })
    }

    /// Asks for the object's end; whether it was there. What depends on it ends after it.
    pub async fn delete(&self, name: &ObjectName) -> Result<bool, ObjectError> {
        let asked = async {
            let request = name.request().delete(&name.name, &DeleteParams::background());
            self.client.request(request.map_err(kube::Error::BuildRequest)?).await
        };
        let answer = found(asked.await)
            .map_err(|error| ObjectError::Delete { object: name.clone(), source: Box::new(error) })?;
        Ok(answer.is_some())
    }
}

/// What is not there is nothing, and no failure. By the code, as a server that does not know a kind gives no reason.
fn found(answer: Result<Value, kube::Error>) -> Result<Option<Value>, kube::Error> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

fn request(api_version: &str, kind: &str, namespace: Option<&str>) -> Request {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersion::gv(group, version).with_kind(kind));
    Request::new(DynamicObject::url_path(&resource, namespace))
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_there_and_what_no_server_knows_is_nothing() {
        let answered = |code, reason: &str| {
            let status = Status { code, reason: reason.into(), ..Status::default() };
            found(Err(kube::Error::Api(Box::new(status)))).map_err(|error| error.to_string())
        };
        assert_eq!(answered(404, "NotFound"), Ok(None));
        assert_eq!(answered(404, "Failed to parse error data"), Ok(None), "kube-apiserver, of a kind it does not know");
        assert!(answered(403, "Forbidden").is_err());
    }

    #[test]
    fn an_object_is_asked_for_where_the_api_has_it() {
        let uri = |api_version: &str, kind: &str, namespace| {
            let get = request(api_version, kind, namespace).get("x", &GetParams::default()).unwrap();
            get.uri().to_string()
        };
        assert_eq!(uri("v1", "Service", Some("shop")), "/api/v1/namespaces/shop/services/x");
        assert_eq!(uri("apps/v1", "DaemonSet", Some("shop")), "/apis/apps/v1/namespaces/shop/daemonsets/x");
        assert_eq!(
            uri("policy/v1", "PodDisruptionBudget", Some("a")),
            "/apis/policy/v1/namespaces/a/poddisruptionbudgets/x"
        );
        assert_eq!(uri("networking.k8s.io/v1", "ServiceCIDR", None), "/apis/networking.k8s.io/v1/servicecidrs/x");
    }

    #[test]
    fn a_name_reads_as_people_write_it() {
        let object = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "namespace": "a", "name": "b" } });
        assert_eq!(ObjectName::of(&object).to_string(), "Service a/b");
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n" } });
        assert_eq!(ObjectName::of(&node).to_string(), "Node n");
    }
}
