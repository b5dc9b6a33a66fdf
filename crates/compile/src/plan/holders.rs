//! Who needs what several may share.

use std::hash::Hash;

use model::{Name, SharedMap};

use crate::ruleset::Note;

/// The holders of each thing, by name and each with how often it does, so that one who lets go leaves the others theirs.
#[derive(Clone, Debug)]
pub(super) struct Holders<K>(SharedMap<K, Vec<(Name, u32)>>);

/// Things whose holders are others than before, with what is to be said of them now; nothing of those nobody holds.
pub(super) type Touched<K> = Vec<(K, Option<Note>)>;

impl<K> Default for Holders<K> {
    fn default() -> Self {
        Self(SharedMap::new())
    }
}

impl<K: Ord + Hash + Copy> Holders<K> {
    /// Lets holders go and adds others; whoever is in both stays. None comes twice in a list.
    pub(super) fn replace(
        &mut self,
        old: impl IntoIterator<Item = (K, Name)>,
        new: impl IntoIterator<Item = (K, Name)>,
    ) -> Touched<K> {
        let (mut old, mut new): (Vec<_>, Vec<_>) = (old.into_iter().collect(), new.into_iter().collect());
        old.sort_unstable();
        new.sort_unstable();
        let mut touched = Vec::new();
        for (key, name) in new.iter().filter(|held| old.binary_search(held).is_err()) {
            self.change(key, |holders| add(holders, name), &mut touched);
        }
        for (key, name) in old.iter().filter(|held| new.binary_search(held).is_err()) {
            self.change(key, |holders| remove(holders, name), &mut touched);
        }
        touched
    }

    /// Notes what is to be said when the holders are others afterwards, and not only hold oftener or less often.
    fn change(&mut self, key: &K, change: impl FnOnce(&mut Vec<(Name, u32)>), touched: &mut Touched<K>) {
        let before = self.0.get(key).map_or(0, Vec::len);
        let mut holders = self.0.get(key).cloned().unwrap_or_default();
        change(&mut holders);
        if holders.len() != before {
            touched.push((*key, Note::of_several(holders.iter().map(|(name, _)| name))));
        }
        if holders.is_empty() {
            self.0.remove(key);
        } else {
            self.0.insert(*key, holders);
        }
    }
}

fn add(holders: &mut Vec<(Name, u32)>, name: &Name) {
    match holders.binary_search_by(|(holder, _)| holder.cmp(name)) {
        Ok(at) => holders[at].1 += 1,
        Err(at) => {
            holders.reserve_exact(1);
            holders.insert(at, (name.clone(), 1));
        }
    }
}

fn remove(holders: &mut Vec<(Name, u32)>, name: &Name) {
    if let Ok(at) = holders.binary_search_by(|(holder, _)| holder.cmp(name)) {
        holders[at].1 -= 1;
        if holders[at].1 == 0 {
            holders.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(name: &str) -> [(u8, Name); 1] {
        [(1, name.into())]
    }

    fn says(text: &str) -> Touched<u8> {
        vec![(1, Some(Note::new(text.into())))]
    }

    #[test]
    fn what_is_said_changes_with_who_holds_it_and_not_with_how_often() {
        let mut holders = Holders::default();
        assert_eq!(holders.replace([], held("b")), says("b"));
        assert_eq!(holders.replace([], held("b")), []);
        assert_eq!(holders.replace([], held("a")), says("a and 1 more"));
        assert_eq!(holders.replace(held("b"), held("b")), []);
        assert_eq!(holders.replace(held("b"), []), [], "it is held once more");
        assert_eq!(holders.replace(held("a"), []), says("b"));
        assert_eq!(holders.replace(held("b"), []), [(1, None)]);
    }

    #[test]
    fn another_holder_in_the_place_of_one_leaves_no_moment_without() {
        let mut holders = Holders::default();
        holders.replace([], held("a"));
        let told = holders.replace(held("a"), held("b"));
        assert_eq!(told, [says("a and 1 more"), says("b")].concat());
    }
}
