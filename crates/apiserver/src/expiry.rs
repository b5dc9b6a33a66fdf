//! Events end an hour after they were last seen, as in Kubernetes.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::error::{ApiError, GroupResource};
use crate::store::{Key, Object, Transaction, WriteMode};

const EVENTS: GroupResource = GroupResource::of("", "events");
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
const INTERVAL: Duration = Duration::from_secs(60);
/// Where an event says when it was seen.
const TIMES: [&str; 5] =
    ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/firstTimestamp", "/metadata/creationTimestamp"];

/// Removes old Events until the server stops.
pub(crate) async fn remove_old_events(api: &Api, stop: &CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
        if let Err(error) = remove_expired(api, api.now()).await {
            tracing::warn!(%error, "cannot remove old events");
        }
    }
}

async fn remove_expired(api: &Api, now: Timestamp) -> Result<(), ApiError> {
    let expired: Vec<Arc<Object>> =
        api.store.list(&EVENTS, None).objects.into_iter().filter(|event| has_expired(&event.value, now)).collect();
    if expired.is_empty() {
        return Ok(());
    }
    let remove = move |tx: &mut Transaction<'_>| {
        for event in expired {
            let text = |field: &str| event.value["metadata"][field].as_str().unwrap_or_default().to_owned();
            let key = Key { resource: EVENTS, namespace: text("namespace"), name: text("name") };
            // One that was seen again since stays.
            if tx.get(&key).is_some_and(|current| current.revision == event.revision) {
                tx.delete(key, event.value.clone());
            }
        }
        Ok(())
    };
    api.store.write(WriteMode::Persist, remove).await
}

fn has_expired(event: &Value, now: Timestamp) -> bool {
    let seen = TIMES.iter().filter_map(|at| event.pointer(at)?.as_str()?.parse::<Timestamp>().ok()).max();
    seen.is_none_or(|seen| now.duration_since(seen) > LIFETIME)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_ends_an_hour_after_it_was_last_seen() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let event =
            |last: Value| json!({ "metadata": { "creationTimestamp": "2026-01-01T09:00:00Z" }, "lastTimestamp": last });
        assert!(!has_expired(&event(json!("2026-01-01T11:30:00Z")), now));
        assert!(has_expired(&event(json!("2026-01-01T10:59:59Z")), now));
        assert!(has_expired(&event(Value::Null), now));
        let mut series = event(Value::Null);
        series["series"] = json!({ "count": 3, "lastObservedTime": "2026-01-01T11:59:00.000001Z" });
        assert!(!has_expired(&series, now));
    }
}
