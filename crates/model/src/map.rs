//! An ordered map whose clones share what they have in common.

mod tree;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use tree::{Link, Node};

/// An ordered map for snapshots: `clone` is O(1), a change copies O(log n) nodes, and [`changes_between`] two maps
/// costs O(changes × log n) however large they are.
///
/// It is a balanced tree of shared nodes: two versions of a map differ only along the paths to what changed.
///
/// [`changes_between`]: SharedMap::changes_between
#[derive(Clone)]
pub struct SharedMap<K, V> {
    root: Link<K, V>,
    len: usize,
}

/// A key whose value differs between two maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a, K, V> {
    /// The key.
    pub key: &'a K,
    /// Its value in the old map.
    pub old: Option<&'a V>,
    /// Its value in the new map.
    pub new: Option<&'a V>,
}

impl<K, V> SharedMap<K, V> {
    /// An empty map.
    pub const fn new() -> Self {
        Self { root: None, len: 0 }
    }

    /// How many entries there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter { walk: Walk::new(&self.root) }
    }

    /// The keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut link = &self.root;
        while let Some(node) = link {
            link = match key.cmp(node.key.borrow()) {
                Ordering::Less => &node.left,
                Ordering::Equal => return Some(&node.value),
                Ordering::Greater => &node.right,
            };
        }
        None
    }

    /// Whether the map has the key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// Sets the value of a key and returns the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let old = tree::insert(&mut self.root, key, value);
        self.len += usize::from(old.is_none());
        old
    }

    /// Removes a key and returns the value it had.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if !self.contains_key(key) {
            return None;
        }
        let old = tree::remove(&mut self.root, key);
        self.len -= usize::from(old.is_some());
        old
    }

    /// Changes the value of a key, starting from the default when there is none.
    pub fn update(&mut self, key: &K, change: impl FnOnce(&mut V))
    where
        V: Default,
    {
        let mut value = self.get(key).cloned().unwrap_or_default();
        change(&mut value);
        self.insert(key.clone(), value);
    }
}

impl<K: Ord, V: PartialEq> SharedMap<K, V> {
    /// What differs from `old` to `new`, in the order of the keys.
    pub fn changes_between<'a>(old: &'a Self, new: &'a Self) -> Vec<Change<'a, K, V>> {
        let (mut old, mut new) = (Walk::new(&old.root), Walk::new(&new.root));
        let mut changes = Vec::new();
        loop {
            skip_shared(&mut old, &mut new);
            let (a, b) = (old.entry(), new.entry());
            let order = match (a, b) {
                (None, None) => return changes,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.key.cmp(&b.key),
            };
            let a = if order.is_le() { old.pop_entry() } else { None };
            let b = if order.is_ge() { new.pop_entry() } else { None };
            let Some(key) = a.or(b).map(|node| &node.key) else { return changes };
            let (old, new) = (a.map(|node| &node.value), b.map(|node| &node.value));
            if old != new {
                changes.push(Change { key, old, new });
            }
        }
    }
}

/// Advances two walks until both stand at an entry (or their end), leaving out subtrees both maps share.
fn skip_shared<K, V>(old: &mut Walk<'_, K, V>, new: &mut Walk<'_, K, V>) {
    loop {
        match (old.subtree(), new.subtree()) {
            (None, None) => return,
            (Some(a), Some(b)) if Arc::ptr_eq(a, b) => {
                old.pending.pop();
                new.pending.pop();
            }
            // The higher one first: what holds a shared subtree is higher than that, which is then met whole in both.
            (Some(a), Some(b)) if a.height < b.height => new.expand(),
            (Some(_), _) => old.expand(),
            (None, Some(_)) => new.expand(),
        }
    }
}

/// An in-order walk that can leave out whole subtrees.
struct Walk<'a, K, V> {
    /// What is still to be visited, next last.
    pending: Vec<Step<'a, K, V>>,
}

enum Step<'a, K, V> {
    Subtree(&'a Arc<Node<K, V>>),
    Entry(&'a Node<K, V>),
}

impl<'a, K, V> Walk<'a, K, V> {
    fn new(root: &'a Link<K, V>) -> Self {
        Self { pending: root.iter().map(Step::Subtree).collect() }
    }

    fn subtree(&self) -> Option<&'a Arc<Node<K, V>>> {
        match self.pending.last() {
            Some(Step::Subtree(node)) => Some(node),
            _ => None,
        }
    }

    fn entry(&self) -> Option<&'a Node<K, V>> {
        match self.pending.last() {
            Some(Step::Entry(node)) => Some(node),
            _ => None,
        }
    }

    fn pop_entry(&mut self) -> Option<&'a Node<K, V>> {
        let entry = self.entry();
        self.pending.pop();
        entry
    }

    /// Replaces the subtree that is next by its left subtree, its entry and its right subtree.
    fn expand(&mut self) {
        if let Some(node) = self.subtree() {
            self.pending.pop();
            self.pending.extend(node.right.iter().map(Step::Subtree));
            self.pending.push(Step::Entry(node));
            self.pending.extend(node.left.iter().map(Step::Subtree));
        }
    }
}

/// The entries of a [`SharedMap`] in the order of their keys.
pub struct Iter<'a, K, V> {
    walk: Walk<'a, K, V>,
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        while self.walk.subtree().is_some() {
            self.walk.expand();
        }
        self.walk.pop_entry().map(|node| (&node.key, &node.value))
    }
}

impl<'a, K, V> IntoIterator for &'a SharedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        map.extend(entries);
        map
    }
}

impl<K: Ord + Clone, V: Clone> Extend<(K, V)> for SharedMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<K: Ord, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && Self::changes_between(self, other).is_empty()
    }
}

impl<K: Ord, V: Eq> Eq for SharedMap<K, V> {}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

    use proptest::prelude::*;

    use super::*;

    /// A value that counts how often values are compared.
    #[derive(Clone, Debug)]
    struct Counted<'a>(u32, &'a Cell<u32>);

    impl PartialEq for Counted<'_> {
        fn eq(&self, other: &Self) -> bool {
            self.1.set(self.1.get() + 1);
            self.0 == other.0
        }
    }

    #[test]
    fn one_change_among_many_compares_few_values() {
        let compared = Cell::new(0);
        let old: SharedMap<u32, Counted<'_>> = (0..10_000).map(|key| (key, Counted(key, &compared))).collect();
        let mut new = old.clone();
        new.insert(4_711, Counted(0, &compared));
        new.remove(&23);
        new.insert(10_001, Counted(1, &compared));
        let changed: Vec<u32> = SharedMap::changes_between(&old, &new).into_iter().map(|change| *change.key).collect();
        assert_eq!(changed, [23, 4_711, 10_001]);
        assert!(compared.get() < 300, "compared {} values", compared.get());
    }

    fn height<K, V>(map: &SharedMap<K, V>) -> u8 {
        map.root.as_ref().map_or(0, |root| root.height)
    }

    #[test]
    fn keys_in_order_make_no_high_tree() {
        let rising: SharedMap<u32, ()> = (0..1_023).map(|key| (key, ())).collect();
        let falling: SharedMap<u32, ()> = (0..1_023).rev().map(|key| (key, ())).collect();
        assert_eq!([height(&rising), height(&falling)], [10, 10]);
    }

    #[test]
    fn names_chosen_by_their_hashes_make_no_high_tree() {
        const COUNT: u64 = 300;
        // Whoever knows how names are hashed finds some whose hashes fall while they rise.
        let name = |rank: u64| {
            let mut names = (0..).map(|number: u32| format!("{rank:04}-{number}"));
            names.find(|name| {
                let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(name);
                hash / (u64::MAX / COUNT) == COUNT - 1 - rank
            })
        };
        let map: SharedMap<_, _> = (0..COUNT).map(|rank| (name(rank), ())).collect();
        assert_eq!((map.len(), height(&map)), (300, 9));
    }

    proptest! {
        #[test]
        fn behaves_as_an_ordered_map(
            first in prop::collection::vec((0u8..40, prop::option::of(0u8..4)), 0..60),
            second in prop::collection::vec((0u8..40, prop::option::of(0u8..4)), 0..60),
        ) {
            let (mut shared, mut plain) = (SharedMap::new(), BTreeMap::new());
            change(&mut shared, &mut plain, &first);
            let (old_shared, old_plain) = (shared.clone(), plain.clone());
            change(&mut shared, &mut plain, &second);

            prop_assert!(old_shared.iter().eq(old_plain.iter()));
            prop_assert!(shared.iter().eq(plain.iter()));
            prop_assert_eq!(shared.len(), plain.len());
            prop_assert!(shared.root.as_ref().is_none_or(|root| root.is_balanced()));
            prop_assert_eq!(old_shared == shared, old_plain == plain);
            let mut replayed = old_plain;
            for change in SharedMap::changes_between(&old_shared, &shared) {
                prop_assert_eq!(change.old, replayed.get(change.key));
                prop_assert_ne!(change.old, change.new);
                match change.new {
                    Some(value) => replayed.insert(*change.key, *value),
                    None => replayed.remove(change.key),
                };
            }
            prop_assert_eq!(replayed, plain);
        }
    }

    fn change(shared: &mut SharedMap<u8, u8>, plain: &mut BTreeMap<u8, u8>, steps: &[(u8, Option<u8>)]) {
        for (key, value) in steps {
            match value {
                Some(value) => assert_eq!(shared.insert(*key, *value), plain.insert(*key, *value)),
                None => assert_eq!(shared.remove(key), plain.remove(key)),
            }
        }
    }
}
