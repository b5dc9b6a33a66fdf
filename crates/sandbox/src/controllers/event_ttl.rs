//! The end of events: after an hour nobody asks about them.

use std::time::Duration;

use apiserver::client::{Client, ClientError, DeleteOptions, EVENTS, ListOptions, object};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::write::together;

/// How long an event is kept after it last happened; Kubernetes' default.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How often old events are looked for.
const INTERVAL: Duration = Duration::from_secs(60);

/// Deletes old events until cancelled.
pub(super) async fn run(client: Client, cancel: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = sweep(&client).await {
            tracing::debug!(%error, "old events stay until the next look");
        }
    }
}

async fn sweep(client: &Client) -> Result<(), ClientError> {
    let events = client.list(&EVENTS, "", &ListOptions::default()).await?.items;
    let now = Timestamp::now();
    let old = events.iter().filter(|event| is_old(event, now));
    let deletions = old.map(|event| async {
        let options = DeleteOptions::default().with_uid(object::uid(event));
        client.delete(&EVENTS, object::namespace(event), object::name(event), &options).await
    });
    together(deletions.collect()).await
}

fn is_old(event: &Value, now: Timestamp) -> bool {
    let times = [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ];
    let happened: Option<Timestamp> = times.into_iter().find_map(|time| time.as_str()?.parse().ok());
    happened.is_some_and(|happened| Duration::try_from(now.duration_since(happened)).is_ok_and(|age| age > LIFETIME))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_old_an_hour_after_it_last_happened() {
        let now = "2026-01-01T03:00:00Z".parse().unwrap();
        let event =
            |last: &str| json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "lastTimestamp": last});
        assert!(is_old(&event("2026-01-01T01:59:59Z"), now));
        assert!(!is_old(&event("2026-01-01T02:30:00Z"), now));
        assert!(is_old(
            &json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "lastTimestamp": null}),
            now
        ));
    }
}
