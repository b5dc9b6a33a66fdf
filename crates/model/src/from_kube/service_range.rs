//! Ranges of cluster IPs at the door.

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::ServiceCIDR;

use super::{Admitted, Door, indexed};
use crate::ObjectKind;

/// Admits the ranges of a ServiceCIDR (KEP-1880).
pub fn service_ranges(object: &ServiceCIDR) -> Admitted<Vec<IpNet>> {
    let mut door = Door::new(ObjectKind::ServiceCidr, &object.metadata);
    let listed = object.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    let texts = indexed("spec.cidrs", listed.map(String::as_str));
    let ranges = texts.iter().filter_map(|(field, text)| door.range(field, text)).collect();
    door.admit(Some(ranges))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_ranges_of_an_object_stand_and_what_is_none_is_told() {
        let object = json!({ "metadata": { "name": "kubernetes" },
            "spec": { "cidrs": ["10.96.0.0/16", "everything", "fd00:10:96::/112"] } });
        let admitted = service_ranges(&serde_json::from_value(object).unwrap());
        let ranges: Vec<String> = admitted.fact.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(ranges, ["10.96.0.0/16", "fd00:10:96::/112"]);
        assert_eq!(admitted.rejected[0].field, "spec.cidrs[1]");
    }
}
