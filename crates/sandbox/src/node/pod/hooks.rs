//! What a container does right after its start and right before its end.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, LifecycleHandler};

use crate::node::container::Container;
use crate::node::exec::{self, Outcome};
use crate::node::probe::{HttpTarget, http_get};

/// What a container gets at least to end after its hook used up the grace period, as the kubelet has it.
const LEAST_GRACE: Duration = Duration::from_secs(2);

/// Runs a hook for at most `limit`. The error is for an event.
pub async fn run_hook(
    hook: &LifecycleHandler,
    spec: &ContainerSpec,
    container: &Container,
    address: Option<IpAddr>,
    limit: Duration,
) -> Result<(), String> {
    if let Some(action) = &hook.exec {
        let command = action.command.as_deref().unwrap_or_default();
        return match exec::run(container.place(), command, limit).await {
            Outcome::Ended(0, _) => Ok(()),
            Outcome::Ended(code, output) => Err(format!("command {command:?} exited with {code}: {output}")),
            Outcome::NotStarted(why) => Err(why),
            Outcome::TimedOut => Err(format!("command {command:?} did not finish in {limit:?}")),
        };
    }
    if let Some(action) = &hook.http_get {
        return http_get(&HttpTarget::new(action, spec, address)?, limit).await;
    }
    if let Some(action) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(action.seconds).unwrap_or_default()).min(limit)).await;
    }
    Ok(())
}

/// Ends a container: its hook first, then the signal, and the kill when `grace` is over. The error is the hook's.
pub async fn end(
    spec: ContainerSpec,
    container: Arc<Container>,
    address: Option<IpAddr>,
    grace: Duration,
) -> Result<(), String> {
    let hook = spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    let (Some(hook), false) = (hook, grace.is_zero()) else {
        container.stop(grace).await;
        return Ok(());
    };
    let begun = tokio::time::Instant::now();
    let ran = tokio::select! {
        ran = run_hook(hook, &spec, &container, address, grace) => ran,
        _ = container.wait() => Ok(()),
    };
    container.stop(grace.saturating_sub(begun.elapsed()).max(LEAST_GRACE)).await;
    ran
}
