//! The Services that are carried: each with the same two pods behind it, so that each of them answers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Bench;
use crate::lab::cluster::list;
use crate::lab::workloads::{namespace, server};

/// Where all of it is.
pub const NAMESPACE: &str = "proxies";
/// Their addresses are those of 10.96.16.0 to 10.96.199.255 that end with 1 to 250.
pub const MOST: usize = 184 * ADDRESSES_A_BLOCK;
/// How many Services begin without endpoints, for measuring how long it takes them to get one.
pub const CHANGES: usize = 5;
const ADDRESSES_A_BLOCK: usize = 250;
const FIRST_BLOCK: usize = 16;
const SERVERS: usize = 2;
const LIMIT: Duration = Duration::from_secs(120);
/// Objects that are created at once; requests of one kubectl follow one another.
const BATCH: usize = 1_000;
const AT_ONCE: usize = 4;

/// What has been created.
pub struct Load {
    /// Addresses of the pods.
    servers: Vec<String>,
    services: usize,
}

impl Load {
    /// The pods, and the Services without endpoints.
    pub fn begin(bench: &Bench<'_>) -> Result<Self> {
        bench.cluster.apply(&format!("{}\n{}", namespace(NAMESPACE), server(NAMESPACE, SERVERS)))?;
        bench.cluster.wait_for_deployment(NAMESPACE, "server", SERVERS, LIMIT)?;
        let pods = bench.cluster.read(&["get", "pods", "-n", NAMESPACE])?;
        let servers: Vec<String> =
            list(&pods).filter_map(|pod| pod["status"]["podIP"].as_str()).map(str::to_owned).collect();
        ensure!(servers.len() == SERVERS, "the servers have {} addresses", servers.len());
        let changing: Vec<Value> =
            (0..CHANGES).map(|number| service(&change_name(number), &change_address(number))).collect();
        bench.cluster.create(&objects(&changing))?;
        Ok(Self { servers, services: 0 })
    }

    /// Creates more of them.
    pub fn grow(&mut self, bench: &Bench<'_>, services: usize) -> Result<()> {
        let new: Vec<usize> = (self.services..services).collect();
        for batch in new.chunks(BATCH) {
            std::thread::scope(|scope| {
                let parts = batch.chunks(batch.len().div_ceil(AT_ONCE));
                let creating: Vec<_> = parts.map(|part| scope.spawn(|| self.create(bench, part))).collect();
                creating.into_iter().try_for_each(|part| match part.join() {
                    Ok(outcome) => outcome,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
            })?;
            bench.progress.say(format!("created     {} of {services} Services", batch.last().context("none")? + 1));
        }
        self.services = services;
        Ok(())
    }

    /// The addresses of so many of them, from the first to the last.
    pub fn sample(&self, count: usize) -> Vec<String> {
        let count = count.min(self.services);
        let last = self.services - 1;
        (0..count).map(|number| format!("{}:80", address(number * last / count.saturating_sub(1).max(1)))).collect()
    }

    /// The endpoints of a Service that has none yet.
    pub fn change(&self, number: usize) -> String {
        self.slice(&change_name(number)).to_string()
    }

    fn create(&self, bench: &Bench<'_>, numbers: &[usize]) -> Result<()> {
        let name = |number: usize| format!("s-{number}");
        let both =
            numbers.iter().flat_map(|number| [service(&name(*number), &address(*number)), self.slice(&name(*number))]);
        bench.cluster.create(&objects(&both.collect::<Vec<_>>()))
    }

    fn slice(&self, name: &str) -> Value {
        let endpoints =
            self.servers.iter().map(|address| json!({ "addresses": [address], "conditions": { "ready": true } }));
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": { "name": name, "namespace": NAMESPACE, "labels": { "kubernetes.io/service-name": name } },
            "addressType": "IPv4",
            "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
            "endpoints": endpoints.collect::<Vec<_>>(),
        })
    }
}

/// The name of a Service without endpoints.
pub fn change_name(number: usize) -> String {
    format!("change-{number}")
}

/// The address of a Service without endpoints.
pub fn change_address(number: usize) -> String {
    format!("10.96.15.{}", number + 1)
}

fn address(number: usize) -> String {
    format!("10.96.{}.{}", FIRST_BLOCK + number / ADDRESSES_A_BLOCK, 1 + number % ADDRESSES_A_BLOCK)
}

fn service(name: &str, address: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": { "clusterIP": address, "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
    })
}

fn objects(items: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_service_has_an_address_of_its_own() {
        let addresses: HashSet<String> = (0..MOST).map(address).collect();
        assert_eq!(addresses.len(), MOST);
        assert_eq!(address(MOST - 1), "10.96.199.250");
    }

    #[test]
    fn a_sample_has_the_first_and_the_last() {
        let load = Load { servers: Vec::new(), services: 1_000 };
        let sample = load.sample(100);
        assert_eq!((sample.len(), &*sample[0], &*sample[99]), (100, "10.96.16.1:80", "10.96.19.250:80"));
        assert_eq!(Load { servers: Vec::new(), services: 1 }.sample(100), ["10.96.16.1:80"]);
    }
}
