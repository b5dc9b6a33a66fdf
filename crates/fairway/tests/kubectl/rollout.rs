//! `scale`, `set image`, `rollout` and `wait`.

use crate::kubectl::Kubectl;

crate::tests!(scale, set_image, restart, history_and_undo, pause_and_resume, stuck_rollout, wait);

fn scale(kubectl: &Kubectl) {
    kubectl.deploy("scaled", 1);
    assert_eq!(kubectl.ok("scale deployment scaled --replicas=3"), "deployment.apps/scaled scaled\n");
    let status = kubectl.ok("rollout status deployment/scaled --timeout=60s");
    assert!(status.ends_with("deployment \"scaled\" successfully rolled out\n"), "{status}");
    assert_eq!(kubectl.ok("get deployment scaled -o jsonpath={.status.readyReplicas}"), "3");
    let refused = kubectl.refused("scale deployment scaled --current-replicas=1 --replicas=5");
    assert_eq!(refused, "error: Expected replicas to be 1, was 3\n");
    kubectl.ok("scale deployment scaled --replicas=0");
    kubectl.eventually("get pods -l app=scaled -o name", str::is_empty);
}

fn set_image(kubectl: &Kubectl) {
    kubectl.deploy("repainted", 2);
    assert_eq!(
        kubectl.ok("set image deployment/repainted agnhost=agnhost:2"),
        "deployment.apps/repainted image updated\n"
    );
    kubectl.ok("rollout status deployment/repainted --timeout=60s");
    let images = "get pods -l app=repainted -o jsonpath={.items[*].spec.containers[0].image}";
    kubectl.eventually(images, |said| said == "agnhost:2 agnhost:2");
    let refused = kubectl.refused("set image deployment/repainted nothing=agnhost");
    assert_eq!(refused, "error: unable to find container named \"nothing\"\n");
}

fn restart(kubectl: &Kubectl) {
    kubectl.deploy("restarted", 2);
    let before = kubectl.ok("get pods -l app=restarted -o name");
    assert_eq!(kubectl.ok("rollout restart deployment/restarted"), "deployment.apps/restarted restarted\n");
    let status = kubectl.ok("rollout status deployment/restarted --timeout=60s");
    assert!(status.ends_with("successfully rolled out\n"), "{status}");
    let after = kubectl.eventually("get pods -l app=restarted -o name", |said| said.lines().count() == 2);
    assert!(after.lines().all(|pod| !before.contains(pod)), "{before}\n{after}");
}

fn history_and_undo(kubectl: &Kubectl) {
    kubectl.deploy("remembered", 1);
    kubectl.ok("set image deployment/remembered agnhost=agnhost:2");
    kubectl.ok("rollout status deployment/remembered --timeout=60s");
    let history = kubectl.ok("rollout history deployment/remembered");
    let expected = "deployment.apps/remembered \nREVISION  CHANGE-CAUSE\n1         <none>\n2         <none>\n\n";
    assert_eq!(history, expected);
    assert_eq!(kubectl.ok("rollout undo deployment/remembered"), "deployment.apps/remembered rolled back\n");
    kubectl.ok("rollout status deployment/remembered --timeout=60s");
    let image = "get deployment remembered -o jsonpath={.spec.template.spec.containers[0].image}";
    assert_eq!(kubectl.ok(image), "agnhost");
    let numbers =
        |said: &str| said.lines().skip(2).filter_map(|line| line.split(' ').next()?.parse().ok()).collect::<Vec<u32>>();
    kubectl.eventually("rollout history deployment/remembered", |said| numbers(said) == [2, 3]);
}

fn pause_and_resume(kubectl: &Kubectl) {
    kubectl.deploy("paused", 1);
    assert_eq!(kubectl.ok("rollout pause deployment/paused"), "deployment.apps/paused paused\n");
    kubectl.ok("set image deployment/paused agnhost=agnhost:2");
    let reason = "get deployment paused -o jsonpath={.status.conditions[?(@.type==\"Progressing\")].reason}";
    kubectl.eventually(reason, |said| said == "DeploymentPaused");
    assert_eq!(kubectl.ok("get rs -l app=paused -o name").lines().count(), 1);
    assert_eq!(kubectl.ok("rollout resume deployment/paused"), "deployment.apps/paused resumed\n");
    kubectl.ok("rollout status deployment/paused --timeout=60s");
    assert_eq!(kubectl.ok("get rs -l app=paused -o name").lines().count(), 2);
}

fn stuck_rollout(kubectl: &Kubectl) {
    kubectl.deploy("stuck", 1);
    kubectl.ok(r#"patch deployment stuck -p '{"spec":{"progressDeadlineSeconds":1}}'"#);
    kubectl.ok("set image deployment/stuck agnhost=no-such-image");
    let refused = kubectl.refused("rollout status deployment/stuck --timeout=60s");
    assert_eq!(refused, "error: deployment \"stuck\" exceeded its progress deadline\n");
    assert_eq!(kubectl.ok("get deployment stuck -o jsonpath={.status.availableReplicas}"), "1");
}

fn wait(kubectl: &Kubectl) {
    kubectl.ok("create deployment awaited --image=agnhost");
    let met = kubectl.ok("wait --for=condition=Available deployment/awaited --timeout=60s");
    assert_eq!(met, "deployment.apps/awaited condition met\n");
    let pods = kubectl.ok("wait --for=condition=Ready pods -l app=awaited --timeout=60s");
    assert!(pods.starts_with("pod/awaited-") && pods.ends_with(" condition met\n"), "{pods}");
    kubectl.ok("wait --for=jsonpath={.status.readyReplicas}=1 deployment/awaited --timeout=60s");
    let refused = kubectl.refused("wait --for=condition=Perfect deployment/awaited --timeout=1s");
    assert_eq!(refused, "error: timed out waiting for the condition on deployments/awaited\n");
    kubectl.ok("delete deployment awaited --wait=false");
    kubectl.ok("wait --for=delete deployment/awaited --timeout=60s");
}
