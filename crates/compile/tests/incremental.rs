//! The plan that follows a change is the plan made anew, and the operations between plans are ones a kernel accepts.

mod kernel;

use compile::sample::{self, Choices, NODES, plain_cluster};
use compile::{NodeView, Observed, ObservedChain, Plan, Routing, RoutingMode, diff, ruleset::Ruleset};
use kernel::{Kernel, as_held};
use model::{Protocol, ServiceKind};
use proptest::prelude::*;

fn view() -> NodeView {
    NodeView::new(NODES[0].name)
}

/// What an agent that reads the kernel back would see.
fn observe(ruleset: &Ruleset) -> Observed {
    let chains = ruleset.chains.iter().map(|(name, chain)| {
        let rules = chain.rules.iter().map(|rule| Some(rule.fingerprint())).collect();
        (name.clone(), ObservedChain { hook: chain.hook, rules })
    });
    Observed { sets: ruleset.sets.clone(), chains: chains.collect() }
}

#[test]
fn a_service_loses_the_tunnels_port_to_the_first_peer_and_has_it_again_when_the_last_one_left() {
    let both = plain_cluster(1, 1);
    let mut service = both.services.values().next().expect("one").as_ref().clone();
    let ServiceKind::Virtual { external_ips, .. } = &mut service.kind else { panic!("a plain one is virtual") };
    *external_ips = [0, 1].map(|node| both.nodes.get(NODES[node].name).expect("a node").addresses[0]).into();
    service.ports[0].port = Routing::default().tunnel_port;
    service.ports[0].protocol = Protocol::Udp;
    let mut both = both.clone();
    both.services.insert(service.name.clone(), service.into());
    let mut alone = both.clone();
    NODES[1..].iter().for_each(|node| {
        alone.nodes.remove(node.name);
    });

    let view = NodeView { routing: Routing { mode: RoutingMode::Vxlan, ..Routing::default() }, ..view() };
    let first = Plan::of(view.clone(), &alone);
    assert_eq!(first.rejected(), []);
    let joined = first.next(&both);
    assert_eq!(joined.rejected_since(&first).len(), 2);
    assert_eq!(joined.rejected(), joined.rejected_since(&first));
    assert_eq!(joined.ruleset(), Plan::of(view, &both).ruleset());
    assert_eq!(joined.next(&both).rejected_since(&joined), []);
    let left = joined.next(&alone);
    assert_eq!((left.ruleset(), left.rejected()), (first.ruleset(), vec![]));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_kernel_that_follows_the_operations_holds_the_plan(
        first in prop::collection::vec(any::<u8>(), 0..300),
        changes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..6),
    ) {
        let mut cluster = sample::cluster(&mut Choices::new(&first));
        let mut plan = Plan::of(view(), &cluster);
        let mut kernel = Kernel::default();
        kernel.apply(&diff(&Ruleset::default(), plan.ruleset())).map_err(TestCaseError::fail)?;
        for bytes in changes {
            cluster = sample::change(&mut Choices::new(&bytes), &cluster);
            let next = plan.next(&cluster);
            let known = plan.rejected();
            let news = next.rejected().into_iter().filter(|rejected| !known.contains(rejected));
            prop_assert_eq!(next.rejected_since(&plan), news.collect::<Vec<_>>());
            kernel.apply(&diff(plan.ruleset(), next.ruleset())).map_err(TestCaseError::fail)?;
            plan = next;

            let anew = Plan::of(view(), &cluster);
            prop_assert_eq!(plan.ruleset(), anew.ruleset());
            prop_assert_eq!(plan.routes(), anew.routes());
            prop_assert_eq!(plan.rejected(), anew.rejected());
            prop_assert_eq!(kernel.ruleset(), &as_held(plan.ruleset()));
        }
        let found = observe(kernel.ruleset()).recognise(plan.ruleset());
        prop_assert_eq!(diff(&found, plan.ruleset()), []);
        kernel.apply(&diff(plan.ruleset(), &Ruleset::default())).map_err(TestCaseError::fail)?;
        prop_assert!(kernel.ruleset().is_empty());
    }

    #[test]
    fn whatever_the_kernel_held_becomes_the_plan(
        before in prop::collection::vec(any::<u8>(), 0..300),
        now in prop::collection::vec(any::<u8>(), 0..300),
        foreign: bool,
    ) {
        let old = Plan::of(view(), &sample::cluster(&mut Choices::new(&before)));
        let mut kernel = Kernel::default();
        kernel.apply(&diff(&Ruleset::default(), old.ruleset())).map_err(TestCaseError::fail)?;
        let wanted = Plan::of(view(), &sample::cluster(&mut Choices::new(&now)));
        let mut found = observe(kernel.ruleset());
        if foreign {
            found.chains.entry("postrouting".into()).and_modify(|chain| chain.rules.push(None));
        }
        kernel.apply(&diff(&found.recognise(wanted.ruleset()), wanted.ruleset())).map_err(TestCaseError::fail)?;
        prop_assert_eq!(kernel.ruleset(), &as_held(wanted.ruleset()));
    }
}
