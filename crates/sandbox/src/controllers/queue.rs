//! Work queues: a key is in work at most once, waits at most once, and is tried again later when it failed.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

const FIRST_RETRY: Duration = Duration::from_millis(10);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Keys that wait for a worker. It never holds more than three entries per key, so that its size is the cluster's.
pub(super) struct WorkQueue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

struct State<K> {
    ready: VecDeque<K>,
    /// Everything in `ready`, and what has to be done again once its worker is through.
    dirty: HashSet<K>,
    active: HashSet<K>,
    failures: HashMap<K, u32>,
    later: BTreeSet<(Instant, K)>,
    due: HashMap<K, Instant>,
}

impl<K: Clone + Ord + Hash> WorkQueue<K> {
    pub(super) fn new() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            active: HashSet::new(),
            failures: HashMap::new(),
            later: BTreeSet::new(),
            due: HashMap::new(),
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Work on this key as soon as a worker is free.
    pub(super) fn add(&self, key: K) {
        self.lock().add(key);
        self.changed.notify_one();
    }

    /// Work on this key after a while; the earlier of two such wishes counts.
    pub(super) fn add_after(&self, key: K, delay: Duration) {
        self.lock().add_at(key, Instant::now() + delay);
        self.changed.notify_one();
    }

    /// Waits for a key to work on; it must be given back with `succeed` or `fail`.
    pub(super) async fn next(&self) -> K {
        loop {
            let wake = {
                let mut state = self.lock();
                state.promote(Instant::now());
                if let Some(key) = state.take() {
                    // A notification may stand for several keys: pass it on.
                    self.changed.notify_one();
                    return key;
                }
                state.later.first().map(|(due, _)| *due)
            };
            match wake {
                Some(due) => tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// The work is done.
    pub(super) fn succeed(&self, key: &K) {
        let mut state = self.lock();
        state.failures.remove(key);
        state.release(key);
        self.changed.notify_one();
    }

    /// The work failed: try again, later each time.
    pub(super) fn fail(&self, key: &K) {
        let mut state = self.lock();
        let failures = state.failures.entry(key.clone()).or_default();
        let delay = FIRST_RETRY.saturating_mul(1 << (*failures).min(16)).min(LAST_RETRY);
        *failures += 1;
        state.release(key);
        state.add_at(key.clone(), Instant::now() + delay);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Ord + Hash> State<K> {
    fn add(&mut self, key: K) {
        if self.dirty.insert(key.clone()) && !self.active.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn add_at(&mut self, key: K, at: Instant) {
        if let Some(due) = self.due.get(&key).copied() {
            if due <= at {
                return;
            }
            self.later.remove(&(due, key.clone()));
        }
        self.due.insert(key.clone(), at);
        self.later.insert((at, key));
    }

    /// Makes ready what is due.
    fn promote(&mut self, now: Instant) {
        while self.later.first().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, key)) = self.later.pop_first() {
                self.due.remove(&key);
                self.add(key);
            }
        }
    }

    fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.active.insert(key.clone());
        Some(key)
    }

    fn release(&mut self, key: &K) {
        self.active.remove(key);
        if self.dirty.contains(key) {
            self.ready.push_back(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_added_twice_is_worked_on_once() {
        let queue = WorkQueue::new();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!([queue.next().await, queue.next().await], ["a", "b"]);
        assert!(queue.lock().ready.is_empty());
    }

    #[tokio::test]
    async fn a_key_added_while_in_work_waits_for_its_worker() {
        let queue = WorkQueue::new();
        queue.add("a");
        let key = queue.next().await;
        queue.add("a");
        assert!(queue.lock().ready.is_empty());
        queue.succeed(&key);
        assert_eq!(queue.next().await, "a");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_retried_later_each_time() {
        let queue = WorkQueue::new();
        queue.add("a");
        let mut waits = Vec::new();
        for _ in 0..3 {
            let before = Instant::now();
            let key = queue.next().await;
            waits.push(before.elapsed());
            queue.fail(&key);
        }
        assert_eq!(waits, [Duration::ZERO, FIRST_RETRY, FIRST_RETRY * 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_two_delays_counts() {
        let queue = WorkQueue::new();
        queue.add_after("a", Duration::from_secs(9));
        queue.add_after("a", Duration::from_secs(2));
        queue.add_after("a", Duration::from_secs(5));
        let before = Instant::now();
        queue.next().await;
        assert_eq!(before.elapsed(), Duration::from_secs(2));
        assert!(queue.lock().later.is_empty());
    }
}
