//! Any text is a Corefile or is refused with its place.
#![no_main]

use dns::{Config, Defaults, Surroundings, Unsupported};
use libfuzzer_sys::fuzz_target;
use model::NamespacedName;

struct Nowhere;

impl Surroundings for Nowhere {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn import(&self, _pattern: &str, _from: &str) -> Result<Vec<(String, String)>, String> {
        Err("nothing to import".into())
    }

    fn read(&self, _path: &str) -> Result<String, String> {
        Err("nothing to read".into())
    }
}

fuzz_target!(|text: &str| {
    let defaults = Defaults {
        dns_service: NamespacedName::new("kube-system", "kube-dns"),
        port: 53,
        unsupported: Unsupported::Ignore,
    };
    match Config::read(("Corefile", text), &defaults, &Nowhere) {
        Ok(config) => assert!(!config.blocks.is_empty()),
        Err(error) => assert!(error.to_string().starts_with("Corefile:")),
    }
});
