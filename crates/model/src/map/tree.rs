//! The balanced tree in which a [`SharedMap`](super::SharedMap) keeps its entries.
//!
//! It is an AVL tree (Adelson-Velsky and Landis, 1962): the heights of siblings differ by one at most, so that n entries
//! are less than 1.45 × log2 n high, whatever their keys are and in whichever order they come. Keys are names that users
//! choose: a tree whose shape follows from them, as from hashes that everybody can compute, would be as high as users
//! like, and a walk down it would end the process for want of stack.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

/// A tree, or none.
pub(super) type Link<K, V> = Option<Arc<Node<K, V>>>;

/// An entry, with the trees of what is less and of what is greater than it.
#[derive(Clone)]
pub(super) struct Node<K, V> {
    pub(super) key: K,
    pub(super) value: V,
    pub(super) left: Link<K, V>,
    pub(super) right: Link<K, V>,
    /// How many nodes lie on the longest way down from here, this one included.
    pub(super) height: u8,
}

impl<K, V> Node<K, V> {
    const fn leaf(key: K, value: V) -> Self {
        Self { key, value, left: None, right: None, height: 1 }
    }

    fn measure(&mut self) {
        self.height = 1 + height(&self.left).max(height(&self.right));
    }
}

/// Sets the value of a key and returns the one it had.
pub(super) fn insert<K: Ord + Clone, V: Clone>(link: &mut Link<K, V>, key: K, value: V) -> Option<V> {
    let Some(node) = link else {
        *link = Some(Arc::new(Node::leaf(key, value)));
        return None;
    };
    let order = key.cmp(&node.key);
    let node = Arc::make_mut(node);
    let old = match order {
        Ordering::Less => insert(&mut node.left, key, value),
        Ordering::Equal => return Some(std::mem::replace(&mut node.value, value)),
        Ordering::Greater => insert(&mut node.right, key, value),
    };
    if old.is_none() {
        balance(link);
    }
    old
}

/// Removes a key and returns the value it had.
pub(super) fn remove<K, V, Q>(link: &mut Link<K, V>, key: &Q) -> Option<V>
where
    K: Ord + Clone + Borrow<Q>,
    V: Clone,
    Q: Ord + ?Sized,
{
    let node = Arc::make_mut(link.as_mut()?);
    let old = match key.cmp(node.key.borrow()) {
        Ordering::Less => remove(&mut node.left, key),
        Ordering::Greater => remove(&mut node.right, key),
        Ordering::Equal => {
            let (left, right) = (node.left.take(), node.right.take());
            let old = link.take().map(|node| node.value.clone());
            *link = join(left, right);
            return old;
        }
    };
    balance(link);
    old
}

/// One tree of two that were siblings.
fn join<K: Clone, V: Clone>(left: Link<K, V>, mut right: Link<K, V>) -> Link<K, V> {
    let Some(mut top) = take_first(&mut right) else { return left };
    let node = Arc::make_mut(&mut top);
    (node.left, node.right) = (left, right);
    let mut link = Some(top);
    balance(&mut link);
    link
}

/// Takes out the least entry.
fn take_first<K: Clone, V: Clone>(link: &mut Link<K, V>) -> Link<K, V> {
    let node = Arc::make_mut(link.as_mut()?);
    if node.left.is_none() {
        let right = node.right.take();
        return std::mem::replace(link, right);
    }
    let first = take_first(&mut node.left);
    balance(link);
    first
}

/// Puts right a tree of which one side has become higher by one or less high by one.
fn balance<K: Clone, V: Clone>(link: &mut Link<K, V>) {
    let Some(top) = link else { return };
    let node = Arc::make_mut(top);
    let (left, right) = (height(&node.left), height(&node.right));
    if left > right + 1 {
        if node.left.as_ref().is_some_and(|left| height(&left.left) < height(&left.right)) {
            rotate_left(&mut node.left);
        }
        rotate_right(link);
    } else if right > left + 1 {
        if node.right.as_ref().is_some_and(|right| height(&right.right) < height(&right.left)) {
            rotate_right(&mut node.right);
        }
        rotate_left(link);
    } else {
        node.measure();
    }
}

/// Makes the left child the top.
fn rotate_right<K: Clone, V: Clone>(link: &mut Link<K, V>) {
    let Some(mut top) = link.take() else { return };
    let node = Arc::make_mut(&mut top);
    let Some(mut left) = node.left.take() else {
        *link = Some(top);
        return;
    };
    let risen = Arc::make_mut(&mut left);
    node.left = risen.right.take();
    node.measure();
    risen.right = Some(top);
    risen.measure();
    *link = Some(left);
}

/// Makes the right child the top.
fn rotate_left<K: Clone, V: Clone>(link: &mut Link<K, V>) {
    let Some(mut top) = link.take() else { return };
    let node = Arc::make_mut(&mut top);
    let Some(mut right) = node.right.take() else {
        *link = Some(top);
        return;
    };
    let risen = Arc::make_mut(&mut right);
    node.right = risen.left.take();
    node.measure();
    risen.left = Some(top);
    risen.measure();
    *link = Some(right);
}

fn height<K, V>(link: &Link<K, V>) -> u8 {
    link.as_ref().map_or(0, |node| node.height)
}

#[cfg(test)]
impl<K, V> Node<K, V> {
    /// Whether every node has the height it says, and siblings that differ by one at most.
    pub(super) fn is_balanced(&self) -> bool {
        let (left, right) = (height(&self.left), height(&self.right));
        let children = [&self.left, &self.right];
        self.height == 1 + left.max(right)
            && left.abs_diff(right) <= 1
            && children.into_iter().flatten().all(|child| child.is_balanced())
    }
}
