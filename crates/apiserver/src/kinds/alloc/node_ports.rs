//! Choosing node ports.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{AllocationError, Claim, Planning, node_ports_of};
use crate::error::FieldError;
use crate::kinds::fill::{Fill, Object};
use crate::kinds::service::{needs_health_check, needs_node_ports};

impl Planning<'_> {
    /// Takes the node ports a Service asks for and those it leaves open.
    pub(super) fn choose_node_ports(&mut self, spec: &mut Object, old: Option<&Object>) -> Result<(), AllocationError> {
        if needs_node_ports(spec) {
            match old {
                None => self.choose_for_new(spec)?,
                Some(old) => self.choose_for_changed(spec, old)?,
            }
        }
        let was_needed = old.is_some_and(needs_health_check);
        if needs_health_check(spec) && !was_needed { self.choose_health_check_port(spec) } else { Ok(()) }
    }

    /// The same port number of two protocols shares one node port.
    fn choose_for_new(&mut self, spec: &mut Object) -> Result<(), AllocationError> {
        let choose_open = chooses_open_ports(spec);
        let asked: Vec<(i64, i64)> = ports_of(spec).map(|port| (port_of(port), node_port_of(port))).collect();
        let mut chosen: HashMap<i64, i64> = HashMap::new();
        for (index, port) in spec.objects("ports").enumerate() {
            let (number, wanted) = asked[index];
            if wanted == 0 && !choose_open {
                continue;
            }
            let node_port = match chosen.get(&number) {
                Some(&shared) if wanted == 0 || wanted == shared => shared,
                Some(_) => self.claim_port(wanted, index)?,
                None => match asked.iter().find(|(other, node_port)| *other == number && *node_port != 0) {
                    Some(&(_, requested)) => self.claim_port(requested, index)?,
                    None => self.next_port()?,
                },
            };
            // As in Kubernetes the port that comes first decides for those of the same number.
            chosen.entry(number).or_insert(node_port);
            port.insert("nodePort".into(), json!(node_port));
        }
        Ok(())
    }

    fn choose_for_changed(&mut self, spec: &mut Object, old: &Object) -> Result<(), AllocationError> {
        let choose_open = chooses_open_ports(spec);
        let known = node_ports_of(old);
        let mut claimed = Vec::new();
        for (index, port) in spec.objects("ports").enumerate() {
            let wanted = port.get("nodePort").and_then(Value::as_i64).unwrap_or(0);
            if wanted == 0 && choose_open {
                port.insert("nodePort".into(), json!(self.next_port()?));
            } else if wanted != 0 && !known.contains(&wanted) && !claimed.contains(&wanted) {
                claimed.push(self.claim_port(wanted, index)?);
            }
        }
        Ok(())
    }

    fn choose_health_check_port(&mut self, spec: &mut Object) -> Result<(), AllocationError> {
        let wanted = spec.get("healthCheckNodePort").and_then(Value::as_i64).unwrap_or(0);
        let chosen = if wanted == 0 {
            self.next_port()?
        } else {
            self.claim(wanted).map_err(|refused| {
                let detail = format!("failed to allocate requested HealthCheck NodePort {wanted}: {refused}");
                AllocationError::Invalid(vec![FieldError::invalid("spec.healthCheckNodePort", wanted, detail)])
            })?
        };
        spec.insert("healthCheckNodePort".into(), json!(chosen));
        Ok(())
    }

    fn claim_port(&mut self, port: i64, index: usize) -> Result<i64, AllocationError> {
        self.claim(port).map_err(|refused| {
            let field = format!("spec.ports[{index}].nodePort");
            AllocationError::Invalid(vec![FieldError::invalid(field, port, refused)])
        })
    }

    fn claim(&mut self, port: i64) -> Result<i64, String> {
        let free = self.pools.node_ports.check(port).map_err(|refused| refused.to_string())?;
        if !self.taken.insert(Claim::NodePort(free)) {
            return Err(super::PoolError::PortTaken.to_string());
        }
        Ok(port)
    }

    fn next_port(&mut self) -> Result<i64, AllocationError> {
        let taken = &self.taken;
        let is_free = |port| !taken.contains(&Claim::NodePort(port));
        let port = self.pools.node_ports.next(&mut self.random, is_free).ok_or(AllocationError::NoNodePortLeft)?;
        self.taken.insert(Claim::NodePort(port));
        Ok(port.into())
    }
}

/// Whether ports without a node port get one.
fn chooses_open_ports(spec: &Object) -> bool {
    spec.text("type") != "LoadBalancer"
        || spec.get("allocateLoadBalancerNodePorts").and_then(Value::as_bool).unwrap_or(true)
}

fn ports_of(spec: &Object) -> impl Iterator<Item = &Value> {
    spec.get("ports").and_then(Value::as_array).into_iter().flatten().filter(|port| port.is_object())
}

fn port_of(port: &Value) -> i64 {
    port["port"].as_i64().unwrap_or(0)
}

fn node_port_of(port: &Value) -> i64 {
    port["nodePort"].as_i64().unwrap_or(0)
}
