//! The shop example, deployed and awaited.

use anyhow::{Context, Result};
use apiserver::client::{Client, DEPLOYMENTS, ListOptions, PODS, STATEFUL_SETS};
use serde_json::Value;

use super::super::launch::{Sandbox, has_condition, until};
use super::super::report::Report;
use crate::apply;

/// The manifests a user would apply with `kubectl apply -f examples/shop/`, in the same order.
const MANIFESTS: [&str; 5] = [
    include_str!("../../../../../examples/shop/00-namespaces.yaml"),
    include_str!("../../../../../examples/shop/cart.yaml"),
    include_str!("../../../../../examples/shop/database.yaml"),
    include_str!("../../../../../examples/shop/frontend.yaml"),
    include_str!("../../../../../examples/shop/products.yaml"),
];

/// A pod of the shop, as far as the demo cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShopPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where it runs.
    pub node: String,
    /// Its address.
    pub address: String,
}

/// The shop, open for business.
#[derive(Debug)]
pub struct Shop {
    /// The web servers.
    pub frontend: Vec<ShopPod>,
    /// The catalogue's replicas.
    pub products: Vec<ShopPod>,
    /// The database's replicas, in the order of their names.
    pub database: Vec<ShopPod>,
}

impl Shop {
    /// Deploys the shop and waits until every part of it is ready.
    pub async fn open(sandbox: &Sandbox, report: &mut Report) -> Result<Self> {
        let client = &sandbox.client;
        for manifest in MANIFESTS {
            apply::apply(client, manifest).await.context("examples/shop")?;
        }
        report.step("examples/shop frontend, product-service, cart and database applied");
        until("the shop is ready", || is_ready(client)).await?;
        let shop = Self {
            frontend: pods(client, "shop", "app=frontend").await?,
            products: pods(client, "shop", "app=product-service").await?,
            database: pods(client, "data", "app=database").await?,
        };
        let count = shop.frontend.len() + shop.products.len() + shop.database.len();
        report.step(&format!("shop          ready, {count} of its pods are used below"));
        Ok(shop)
    }
}

/// The ready pods with these labels, in the order of their names.
pub async fn pods(client: &Client, namespace: &str, labels: &str) -> Result<Vec<ShopPod>> {
    let list = client.list(&PODS, namespace, &ListOptions::labels(labels)).await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ready = list.items.iter().filter(|pod| has_condition(pod, "Ready"));
    let mut pods: Vec<ShopPod> = ready
        .map(|pod| ShopPod {
            namespace: namespace.to_owned(),
            name: text(&pod["metadata"]["name"]),
            node: text(&pod["spec"]["nodeName"]),
            address: text(&pod["status"]["podIP"]),
        })
        .collect();
    pods.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(pods)
}

async fn is_ready(client: &Client) -> Result<bool> {
    for (gvr, namespace) in [(&DEPLOYMENTS, "shop"), (&STATEFUL_SETS, "data")] {
        let list = client.list(gvr, namespace, &ListOptions::default()).await?;
        let ready = |object: &Value| object["status"]["readyReplicas"] == object["spec"]["replicas"];
        if list.items.is_empty() || !list.items.iter().all(ready) {
            return Ok(false);
        }
    }
    Ok(true)
}
