//! The kinds that are served at a moment: the built-in ones, and those that CustomResourceDefinitions make.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::discovery::{Discovery, Document};
use crate::error::GroupResource;
use crate::kinds::custom::{DEFINITIONS_GROUP, kinds_of};
use crate::kinds::definition::is_established;
use crate::kinds::{self, Resource};
use crate::schema::{custom_documents, openapi_index};
use crate::store::Store;

/// Where definitions are stored.
pub(crate) const DEFINITIONS: GroupResource = GroupResource::of(DEFINITIONS_GROUP, "customresourcedefinitions");

/// What is served, brought up to date when it is asked for: whoever has seen a definition stored can use its kind.
#[derive(Debug)]
pub(crate) struct Catalog {
    server: String,
    served: RwLock<Arc<Served>>,
}

/// The custom kinds there are, and the documents that tell of all kinds.
#[derive(Debug)]
pub(crate) struct Served {
    /// The newest change of a definition that this takes into account.
    newest: u64,
    custom: Vec<&'static Resource>,
    pub discovery: Discovery,
    pub openapi_index: Document,
    pub openapi: BTreeMap<String, Document>,
}

impl Catalog {
    /// The catalogue of a store; `server` is where clients inside the cluster reach the API.
    pub fn new(server: String, store: &Store) -> Self {
        let served = RwLock::new(Arc::new(Served::of(&server, store)));
        Self { server, served }
    }

    /// What is served now.
    pub fn served(&self, store: &Store) -> Arc<Served> {
        let known = self.served.read().unwrap_or_else(PoisonError::into_inner).clone();
        if known.newest == store.newest_change(&DEFINITIONS) {
            return known;
        }
        let fresh = Arc::new(Served::of(&self.server, store));
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = fresh.clone();
        fresh
    }

    /// The kind served under `/apis/GROUP/VERSION/PLURAL`.
    pub fn resource(&self, store: &Store, group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
        kinds::resource(group, version, plural).or_else(|| self.served(store).resource(group, version, plural))
    }
}

impl Served {
    fn of(server: &str, store: &Store) -> Self {
        // The number is read first: a definition that comes in between is taken in again, not missed.
        let newest = store.newest_change(&DEFINITIONS);
        let definitions = store.list(&DEFINITIONS, None).objects;
        let established = definitions.iter().filter(|definition| is_established(&definition.value));
        let custom: Vec<&'static Resource> = established.flat_map(|definition| kinds_of(&definition.value)).collect();
        let openapi: BTreeMap<String, Document> =
            custom_documents(&custom).into_iter().map(|(path, text)| (path, Document::of_text(text))).collect();
        let hashes = openapi.iter().map(|(path, document)| (path.as_str(), document.hash()));
        Self {
            newest,
            discovery: Discovery::new(server, &custom),
            openapi_index: Document::new(&openapi_index(hashes)),
            openapi,
            custom,
        }
    }

    fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
        let is = |kind: &&&Resource| (kind.group, kind.version, kind.plural) == (group, version, plural);
        self.custom.iter().find(is).copied()
    }
}
