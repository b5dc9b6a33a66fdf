//! Questions about callers: who am I, may I, is this token good. They are answered and not stored.
//!
//! Every caller that is known may do everything, so the answer to "may I" is yes.

use serde_json::{Value, json};

use super::input::read_object;
use super::token::API_AUDIENCE;
use super::write::rfc3339;
use crate::api::{Api, Call, Reply};
use crate::error::ApiError;
use crate::render::to_bytes;

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";
const EVERYTHING_ALLOWED: &str = "everyone who is known to this server may do everything";

impl Api {
    /// Answers a review; `None` if the call is about something else.
    pub(crate) fn review(&self, call: &Call) -> Option<Result<Reply, ApiError>> {
        let status = match (call.resource.group, call.resource.plural) {
            (AUTHENTICATION, "selfsubjectreviews") => {
                |_: &Self, call: &Call, _: &Value| json!({ "userInfo": call.identity.to_user_info() })
            }
            (AUTHENTICATION, "tokenreviews") => Self::review_token,
            (AUTHORIZATION, "selfsubjectrulesreviews") => |_: &Self, _: &Call, _: &Value| all_rules(),
            (AUTHORIZATION, _) => |_: &Self, _: &Call, _: &Value| allowed(),
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
}

fn allowed() -> Value {
    json!({ "allowed": true, "reason": EVERYTHING_ALLOWED })
}

fn all_rules() -> Value {
    json!({
        "incomplete": false,
        "resourceRules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }],
        "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
    })
}
