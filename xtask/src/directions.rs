//! Who depends on whom and under which licence, as `deny.toml` allows it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The part of `deny.toml` that is enforced here.
#[derive(Debug, Deserialize)]
pub struct Deny {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    wrappers: BTreeSet<String>,
}

/// The part of `cargo metadata` that is looked at.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    license: Option<String>,
    source: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    path: Option<String>,
}

/// Reads `deny.toml`.
pub fn read_deny() -> Result<Deny> {
    let text = std::fs::read_to_string("deny.toml").context("cannot read deny.toml")?;
    toml::from_str(&text).context("cannot parse deny.toml")
}

/// Asks cargo for every package in the build.
pub fn read_metadata() -> Result<Metadata> {
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"];
    let asked = Command::new("cargo").args(arguments).output().context("cannot run cargo metadata")?;
    ensure!(asked.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&asked.stderr));
    serde_json::from_slice(&asked.stdout).context("cannot parse cargo metadata")
}

/// Every dependency between rooms, and every licence, that `deny` does not allow.
pub fn breaches(deny: &Deny, metadata: &Metadata) -> Vec<String> {
    let wrappers: BTreeMap<&str, &BTreeSet<String>> =
        deny.bans.deny.iter().map(|ban| (ban.name.as_str(), &ban.wrappers)).collect();
    let mut found = Vec::new();
    for package in &metadata.packages {
        if package.source.is_some() {
            found.extend(licence_breach(package, &deny.licenses.allow));
            continue;
        }
        for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            let own_tests = dependency.name == package.name;
            let allowed =
                own_tests || wrappers.get(dependency.name.as_str()).is_some_and(|names| names.contains(&package.name));
            if !allowed {
                found.push(format!("{} may not depend on {} (deny.toml, wrappers)", package.name, dependency.name));
            }
        }
    }
    found
}

fn licence_breach(package: &Package, allowed: &BTreeSet<String>) -> Option<String> {
    let Some(expression) = &package.license else { return Some(format!("{} names no licence", package.name)) };
    (!is_allowed(expression, allowed)).then(|| format!("{}: licence {expression} is not permissive", package.name))
}

/// Whether an SPDX expression can be satisfied with allowed licences: one of each `OR`, all of each `AND`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace(['(', ')'], "").replace('/', " OR ");
    // Without brackets AND binds tighter; with them, requiring one side of every OR is the stricter reading.
    expression.split(" AND ").all(|part| part.split(" OR ").any(|licence| allowed.contains(licence.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deny() -> Deny {
        let text =
            "[licenses]\nallow = ['MIT', 'Apache-2.0']\n[bans]\ndeny = [{ crate = 'model', wrappers = ['dns'] }]";
        toml::from_str(text).unwrap()
    }

    fn metadata(text: &str) -> Metadata {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_dependency_against_the_direction_is_reported() {
        let metadata = metadata(
            r#"{"packages": [
                {"name": "dns", "license": null, "source": null, "dependencies": [{"name": "model", "path": "x"}]},
                {"name": "apiserver", "license": null, "source": null, "dependencies": [{"name": "model", "path": "x"}]}
            ]}"#,
        );
        assert_eq!(breaches(&deny(), &metadata), ["apiserver may not depend on model (deny.toml, wrappers)"]);
    }

    #[test]
    fn a_licence_that_is_not_allowed_is_reported() {
        let metadata = metadata(
            r#"{"packages": [
                {"name": "a", "license": "MIT OR GPL-3.0", "source": "registry", "dependencies": []},
                {"name": "b", "license": "GPL-3.0", "source": "registry", "dependencies": []},
                {"name": "c", "license": "MIT AND GPL-3.0", "source": "registry", "dependencies": []}
            ]}"#,
        );
        let found = breaches(&deny(), &metadata);
        assert_eq!(found, ["b: licence GPL-3.0 is not permissive", "c: licence MIT AND GPL-3.0 is not permissive"]);
    }
}
