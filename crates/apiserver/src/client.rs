//! An asynchronous client of the API server over its unix socket: verbs, watches, shared caches, exec and logs.
//!
//! Objects are JSON values in and out; a request may be any serializable type. The namespace `""` means all namespaces
//! for a list or watch, and none for a cluster-wide kind.

use std::{path::PathBuf, sync::Arc};

use hyper::{Method, header::CONTENT_TYPE};
use serde::Serialize;
use serde_json::Value;

mod address;
mod error;
mod exec;
mod gvr;
pub mod object;
mod options;
mod store;
mod transport;
mod watch;

use address::Address;
use transport::{Call, Transport};

use crate::kinds::custom::kinds_of;
use crate::kinds::definition::is_established;

pub use error::{ClientError, StatusError};
pub use exec::{ExecOutput, ExecRequest};
pub use gvr::*;
pub use options::{DeleteOptions, List, ListOptions, LogOptions, Patch, Propagation};
pub use store::{Change, ObjectKey, Store};
pub use watch::{Event, Watch};

/// A handle to one API server; clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Arc<Transport>,
    manager: Arc<str>,
}

impl Client {
    /// A client of the server that listens on this unix socket; it connects on first use and again after a restart.
    pub fn unix(socket: impl Into<PathBuf>) -> Self {
        Self { transport: Arc::new(Transport::new(socket.into())), manager: Arc::from("fairway") }
    }

    /// The same client writing under another field manager's name, as seen in `managedFields` and the user agent.
    pub fn as_manager(&self, manager: &str) -> Self {
        Self { transport: Arc::clone(&self.transport), manager: Arc::from(manager) }
    }

    /// Reads one object.
    pub async fn get(&self, gvr: &Gvr, namespace: &str, name: &str) -> Result<Value, ClientError> {
        self.transport.json(self.call(Method::GET, Address::object(gvr, namespace, name))).await
    }

    /// Reads all objects of a kind that the selectors admit, in one answer.
    pub async fn list(&self, gvr: &Gvr, namespace: &str, options: &ListOptions) -> Result<List, ClientError> {
        let address = Address::collection(gvr, namespace).queries(options.queries());
        let answer = self.transport.json(self.call(Method::GET, address)).await?;
        Ok(List::from_answer(answer, gvr))
    }

    /// Creates an object and returns it as stored.
    pub async fn create(&self, gvr: &Gvr, namespace: &str, body: &impl Serialize) -> Result<Value, ClientError> {
        self.send_json(Method::POST, Address::collection(gvr, namespace), body).await
    }

    /// Replaces an object, found by the name in its metadata; fails with a conflict if it carries an old resource version.
    pub async fn replace(&self, gvr: &Gvr, object: &impl Serialize) -> Result<Value, ClientError> {
        self.replace_at(gvr, object, None).await
    }

    /// Replaces only the status of an object.
    pub async fn replace_status(&self, gvr: &Gvr, object: &impl Serialize) -> Result<Value, ClientError> {
        self.replace_at(gvr, object, Some("status")).await
    }

    /// Changes parts of an object.
    pub async fn patch(&self, gvr: &Gvr, namespace: &str, name: &str, patch: &Patch) -> Result<Value, ClientError> {
        self.send_patch(Address::object(gvr, namespace, name), patch).await
    }

    /// Changes parts of an object's status.
    pub async fn patch_status(
        &self,
        gvr: &Gvr,
        namespace: &str,
        name: &str,
        patch: &Patch,
    ) -> Result<Value, ClientError> {
        self.send_patch(Address::object(gvr, namespace, name).subresource("status"), patch).await
    }

    /// Deletes an object; the answer is the object as it awaits its end, or a `Status` if it is gone.
    pub async fn delete(
        &self,
        gvr: &Gvr,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Value, ClientError> {
        let address = Address::object(gvr, namespace, name);
        let call = self.call(Method::DELETE, address).body("application/json", options)?;
        self.transport.json(call).await
    }

    /// The kinds that the server's CustomResourceDefinitions make, one for each version that is served.
    pub async fn custom_kinds(&self) -> Result<Vec<Gvr>, ClientError> {
        let definitions = self.list(&CUSTOM_RESOURCE_DEFINITIONS, "", &ListOptions::default()).await?.items;
        let established = definitions.iter().filter(|definition| is_established(definition));
        Ok(established.flat_map(kinds_of).map(Gvr::from).collect())
    }

    /// Assigns a pod to a node, as a scheduler does.
    pub async fn bind(&self, namespace: &str, pod: &str, node: &str) -> Result<(), ClientError> {
        let binding = serde_json::json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": pod, "namespace": namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        self.create_subresource(&PODS, (namespace, pod), "binding", &binding).await.map(drop)
    }

    /// Sets the replicas of a scalable object and returns the `Scale`.
    pub async fn scale(&self, gvr: &Gvr, namespace: &str, name: &str, replicas: u32) -> Result<Value, ClientError> {
        let patch = Patch::Merge(serde_json::json!({"spec": {"replicas": replicas}}));
        self.send_patch(Address::object(gvr, namespace, name).subresource("scale"), &patch).await
    }

    /// Asks for a token of a service account; `request` is a `TokenRequest`.
    pub async fn create_token(
        &self,
        namespace: &str,
        account: &str,
        request: &impl Serialize,
    ) -> Result<Value, ClientError> {
        self.create_subresource(&SERVICE_ACCOUNTS, (namespace, account), "token", request).await
    }

    /// Removes the finalizers the server itself holds on a namespace; `namespace` is the whole object.
    pub async fn finalize_namespace(&self, namespace: &impl Serialize) -> Result<Value, ClientError> {
        self.replace_at(&NAMESPACES, namespace, Some("finalize")).await
    }

    /// The log of one container, from its beginning or the last lines only; whatever is written until now.
    pub async fn logs(&self, namespace: &str, pod: &str, options: &LogOptions) -> Result<String, ClientError> {
        let address = Address::object(&PODS, namespace, pod).subresource("log").queries(options.queries());
        let body = self.transport.bytes(self.call(Method::GET, address)).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Runs a command in a container and waits for its end.
    pub async fn exec(&self, request: &ExecRequest) -> Result<ExecOutput, ClientError> {
        exec::run(self.transport.socket(), request).await
    }

    /// An endless stream of what happens to the objects of a kind; it survives restarts of the server.
    pub fn watch(&self, gvr: &Gvr, namespace: &str, options: ListOptions) -> Watch {
        Watch::new(self.clone(), *gvr, namespace.to_owned(), options)
    }

    async fn replace_at(
        &self,
        gvr: &Gvr,
        object: &impl Serialize,
        subresource: Option<&str>,
    ) -> Result<Value, ClientError> {
        let object = serde_json::to_value(object).map_err(|source| ClientError::Encode { source })?;
        let mut address = Address::object(gvr, object::namespace(&object), object::name(&object));
        if let Some(subresource) = subresource {
            address = address.subresource(subresource);
        }
        self.send_json(Method::PUT, address, &object).await
    }

    async fn create_subresource(
        &self,
        gvr: &Gvr,
        (namespace, name): (&str, &str),
        subresource: &str,
        body: &impl Serialize,
    ) -> Result<Value, ClientError> {
        self.send_json(Method::POST, Address::object(gvr, namespace, name).subresource(subresource), body).await
    }

    async fn send_json(&self, method: Method, address: Address, body: &impl Serialize) -> Result<Value, ClientError> {
        let address = address.query("fieldManager", &self.manager);
        self.transport.json(self.call(method, address).body("application/json", body)?).await
    }

    async fn send_patch(&self, address: Address, patch: &Patch) -> Result<Value, ClientError> {
        let address = address.queries(patch.queries(&self.manager));
        let call = self.call(Method::PATCH, address).body(patch.content_type(), patch.body())?;
        self.transport.json(call).await
    }

    fn call(&self, method: Method, address: Address) -> Call {
        Call::new(method, address, &self.manager)
    }
}

impl Call {
    fn body(mut self, content_type: &'static str, body: &impl Serialize) -> Result<Self, ClientError> {
        let bytes = serde_json::to_vec(body).map_err(|source| ClientError::Encode { source })?;
        self.set_body(CONTENT_TYPE, content_type, bytes);
        Ok(self)
    }
}
