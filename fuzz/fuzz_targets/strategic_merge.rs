//! Any JSON is a strategic merge patch of any JSON or an error: two lines, the object and the patch.
#![no_main]

use apiserver::patch::strategic_merge_patch;
use apiserver::schema::Gvk;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(2, '\n').map(serde_json::from_str::<Value>);
    let (Some(Ok(object)), Some(Ok(patch))) = (lines.next(), lines.next()) else { return };
    for kind in [Gvk::new("", "v1", "Pod"), Gvk::new("apps", "v1", "Deployment"), Gvk::new("", "v1", "Service")] {
        let Ok(merged) = strategic_merge_patch(kind, &object, &patch) else { continue };
        assert!(merged.is_object(), "an object stays one");
    }
});
