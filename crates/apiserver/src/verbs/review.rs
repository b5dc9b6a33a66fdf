//! Questions about callers: who am I, may I, is this token good. They are answered and not stored.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::input::read_object;
use super::token::API_AUDIENCE;
use super::write::rfc3339;
use crate::api::{Api, Call, Reply};
use crate::auth::Identity;
use crate::auth::rbac::{Access, Action, ResourceAction, Rule};
use crate::error::ApiError;
use crate::render::to_bytes;

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

impl Api {
    /// Answers a review; `None` if the call is about something else.
    pub(crate) fn review(&self, call: &Call) -> Option<Result<Reply, ApiError>> {
        let status = match (call.resource.group, call.resource.plural) {
            (AUTHENTICATION, "selfsubjectreviews") => {
                |_: &Self, call: &Call, _: &Value| json!({ "userInfo": call.identity.to_user_info() })
            }
            (AUTHENTICATION, "tokenreviews") => Self::review_token,
            (AUTHORIZATION, "selfsubjectrulesreviews") => Self::review_rules,
            (AUTHORIZATION, "selfsubjectaccessreviews") => Self::review_own_access,
            (AUTHORIZATION, _) => Self::review_access,
            _ => return None,
        };
        Some(self.answer_review(call, status))
    }

    fn answer_review(&self, call: &Call, status: fn(&Self, &Call, &Value) -> Value) -> Result<Reply, ApiError> {
        let input = read_object(call, call.query.write_options()?.field_validation)?;
        let mut review = input.object;
        if review["metadata"].is_null() {
            review["metadata"] = json!({});
        }
        review["metadata"]["creationTimestamp"] = json!(rfc3339(self.now()));
        review["status"] = status(self, call, &review["spec"]);
        Ok(Reply::json(201, to_bytes(&review)).with_warnings(input.warnings))
    }

    fn review_token(&self, _: &Call, spec: &Value) -> Value {
        let audiences: Vec<&str> = match spec["audiences"].as_array() {
            Some(list) if !list.is_empty() => list.iter().filter_map(Value::as_str).collect(),
            _ => vec![API_AUDIENCE],
        };
        let token = spec["token"].as_str().unwrap_or_default();
        let mut error = None;
        for audience in audiences {
            match self.authenticate_token(token, audience) {
                Ok(identity) => {
                    return json!({
                        "authenticated": true, "user": identity.to_user_info(), "audiences": [audience],
                    });
                }
                Err(refused) => error = Some(refused),
            }
        }
        json!({ "authenticated": false, "user": {}, "error": error.map(|error| error.to_string()) })
    }

    fn review_own_access(&self, call: &Call, spec: &Value) -> Value {
        self.access(&call.identity, call, spec)
    }

    fn review_access(&self, call: &Call, spec: &Value) -> Value {
        let texts = |list: &Value| -> Vec<String> {
            list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let identity = Identity {
            user: text(&spec["user"]).to_owned(),
            uid: text(&spec["uid"]).to_owned(),
            groups: texts(&spec["groups"]),
            extra: BTreeMap::new(),
        };
        self.access(&identity, call, spec)
    }

    /// Whether the identity may do what a review asks about; a local review is about its own namespace.
    fn access(&self, identity: &Identity, call: &Call, spec: &Value) -> Value {
        let (asked, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
        let action = if path.is_null() {
            Action::Resource(ResourceAction {
                verb: text(&asked["verb"]),
                group: text(&asked["group"]),
                resource: text(&asked["resource"]),
                subresource: text(&asked["subresource"]),
                namespace: call.namespace.as_deref().unwrap_or(text(&asked["namespace"])),
                name: text(&asked["name"]),
            })
        } else {
            Action::Path { verb: text(&path["verb"]), path: text(&path["path"]) }
        };
        match Access::of(&self.store).allows(identity, action) {
            Some(reason) => json!({ "allowed": true, "reason": reason }),
            None => json!({ "allowed": false }),
        }
    }

    fn review_rules(&self, call: &Call, spec: &Value) -> Value {
        let rules = Access::of(&self.store).rules_of(&call.identity, text(&spec["namespace"]));
        let (paths, resources): (Vec<Rule>, Vec<Rule>) =
            rules.into_iter().partition(|rule| !rule.non_resource_urls.is_empty());
        json!({ "incomplete": false, "resourceRules": resources, "nonResourceRules": paths })
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
