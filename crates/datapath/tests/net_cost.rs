//! What a change costs is a matter of the change, not of the cluster: counted in allocations, which are the same on a
//! busy machine. And what memory a start takes.
#![expect(unsafe_code, reason = "an allocator that counts")]
#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use compile::sample::{NODES, plain_cluster, plain_endpoints, plain_service, plain_slice};
use compile::{NodeView, Plan};
use datapath::testing::isolated;
use datapath::{Datapath, Outcome, Wanted};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes this thread has, by what it took and gave back.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The most it had since that was asked last.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn hold(bytes: isize) {
    let held = HELD.with(|held| held.replace(held.get() + bytes) + bytes);
    PEAK.with(|peak| peak.set(peak.get().max(held)));
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        hold(layout.size().cast_signed());
        // SAFETY: the caller keeps what the trait asks of it.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        hold(-layout.size().cast_signed());
        // SAFETY: `at` came from the same allocator with the same layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work` and tells how many allocations that took on this thread.
fn count<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = ALLOCATIONS.with(Cell::get);
    let done = work();
    (ALLOCATIONS.with(Cell::get) - before, done)
}

/// Runs `work` and tells how many bytes more than at its beginning this thread had at most.
fn peak<T>(work: impl FnOnce() -> T) -> (isize, T) {
    let before = HELD.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    let done = work();
    (PEAK.with(Cell::get) - before, done)
}

fn wanted(plan: &Plan) -> Wanted<'_> {
    Wanted { routes: &[], ..Wanted::from(plan) }
}

/// What it takes to bring one endpoint more of one Service into the kernel: from the snapshot to the acknowledgement.
fn one_endpoint_more(services: u32, endpoints: u32) -> (u64, Outcome) {
    let mut cluster = plain_cluster(services, endpoints);
    let mut plan = Plan::of(NodeView::new(NODES[0].name), &cluster);
    let mut datapath = Datapath::open().expect("a connection");
    let mut apply = |plan: &Plan| datapath.apply(&wanted(plan)).expect("a kernel that takes it");
    apply(&plan);
    cluster.insert_slice(plain_slice(&plain_service(0), plain_endpoints(0, endpoints + 1)));
    count(|| {
        plan = plan.next(&cluster);
        apply(&plan)
    })
}

#[test]
fn one_endpoint_more_costs_in_a_large_cluster_what_it_costs_in_a_small_one() {
    isolated(|| {
        let (small, _) = one_endpoint_more(100, 5);
        let (large, outcome) = one_endpoint_more(4_000, 5);
        assert!(!outcome.listed);
        // Maps are trees: forty times the elements are a few levels more.
        assert!(large < small * 3 / 2, "{large} allocations among 4000 Services, {small} among 100");
    });
}

#[test]
fn one_endpoint_more_of_many_changes_its_own_element_and_the_number_of_them() {
    isolated(|| {
        let (few, _) = one_endpoint_more(20, 5);
        let (many, outcome) = one_endpoint_more(20, 15);
        // The endpoint, and the Service's verdict out and in again.
        assert_eq!((outcome.operations, outcome.transactions), (3, 1));
        assert!(many < few * 3 / 2, "{many} allocations with 15 endpoints, {few} with 5");
    });
}

#[test]
fn a_start_takes_little_memory_beside_the_plan() {
    isolated(|| {
        let cluster = plain_cluster(4_000, 5);
        let plan = Plan::of(NodeView::new(NODES[0].name), &cluster);
        let start = || {
            let mut datapath = Datapath::open().expect("a connection");
            let outcome = datapath.apply(&wanted(&plan)).expect("a kernel that takes it");
            (datapath, outcome)
        };
        let elements = 4_000 * 5;
        let (bytes, _) = peak(start);
        assert!(bytes < elements * 330, "cold, {} bytes for each of the endpoints", bytes / elements);
        let (bytes, (_, outcome)) = peak(start);
        assert!(outcome.wrote_nothing());
        assert!(bytes < elements * 40, "{} bytes for each of the endpoints", bytes / elements);
    });
}
