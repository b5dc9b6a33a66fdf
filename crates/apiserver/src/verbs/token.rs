//! Service account tokens: issued by `serviceaccounts/NAME/token`, checked when they are shown.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::input::read_object;
use super::write::rfc3339;
use crate::api::{Api, Call, Reply};
use crate::auth::{Claims, Identity, PodReference, TokenError};
use crate::error::{ApiError, FieldError, GroupKind, GroupResource};
use crate::render::to_bytes;
use crate::store::{Key, Object};

/// The audience of tokens for the API itself.
pub(crate) const API_AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";
const PODS: GroupResource = GroupResource::of("", "pods");
const SERVICE_ACCOUNTS: GroupResource = GroupResource::of("", "serviceaccounts");
const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;

impl Api {
    pub(crate) async fn issue_token(&self, call: &Call) -> Result<Reply, ApiError> {
        let mut request = read_object(call, call.query.write_options()?.field_validation)?.object;
        let account = call.object(&self.store)?;
        let claims = self.claims(&account, &request["spec"])?;
        let token = self.tokens.issue(&claims, self.now()).map_err(ApiError::internal)?;
        request["metadata"] = json!({
            "name": account.value["metadata"]["name"], "namespace": account.value["metadata"]["namespace"],
            "creationTimestamp": rfc3339(self.now()),
        });
        request["spec"]["audiences"] = json!(claims.audiences);
        request["spec"]["expirationSeconds"] = json!(claims.expires.as_second() - self.now().as_second());
        request["status"] = json!({ "token": token, "expirationTimestamp": rfc3339(claims.expires) });
        Ok(Reply::json(201, to_bytes(&request)))
    }

    fn claims(&self, account: &Object, spec: &Value) -> Result<Claims, ApiError> {
        let seconds = spec["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
        if !(MIN_SECONDS..=MAX_SECONDS).contains(&seconds) {
            let why = if seconds < MIN_SECONDS {
                "may not specify a duration less than 10 minutes"
            } else {
                "may not specify a duration larger than 2^32 seconds"
            };
            let errors = vec![FieldError::invalid("spec.expirationSeconds", seconds, why)];
            return Err(ApiError::Invalid { kind: TOKEN_REQUEST, name: String::new(), errors });
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &account.value["metadata"];
        let namespace = text(&metadata["namespace"]);
        let mut audiences: Vec<String> = spec["audiences"].as_array().into_iter().flatten().map(text).collect();
        if audiences.is_empty() {
            audiences.push(API_AUDIENCE.into());
        }
        Ok(Claims {
            pod: self.bound_pod(&namespace, &spec["boundObjectRef"])?,
            namespace,
            service_account: text(&metadata["name"]),
            service_account_uid: text(&metadata["uid"]),
            audiences,
            expires: expiry(self.now(), seconds)?,
        })
    }

    /// The pod a token is to end with, which must exist.
    fn bound_pod(&self, namespace: &str, reference: &Value) -> Result<Option<PodReference>, ApiError> {
        if reference.is_null() {
            return Ok(None);
        }
        let text = |field: &str| reference[field].as_str().unwrap_or_default().to_owned();
        if text("kind") != "Pod" {
            let why = "only tokens bound to a Pod are issued";
            let errors = vec![FieldError::invalid("spec.boundObjectRef.kind", text("kind"), why)];
            return Err(ApiError::Invalid { kind: TOKEN_REQUEST, name: String::new(), errors });
        }
        let name = text("name");
        let found = self.store.get(&Key { resource: PODS, namespace: namespace.into(), name: name.clone() });
        let pod = found.ok_or_else(|| ApiError::NotFound { resource: PODS, name: name.clone() })?;
        let uid = uid_of(&pod);
        if !text("uid").is_empty() && text("uid") != uid {
            let why =
                format!("the UID in the bound object reference ({}) does not match the UID in record", text("uid"));
            return Err(ApiError::Conflict { resource: PODS, name, why });
        }
        Ok(Some(PodReference { name, uid }))
    }

    /// The service account a token speaks for, if the token, the account and the pod it is bound to are still good.
    pub(crate) fn authenticate_token(&self, token: &str, audience: &str) -> Result<Identity, TokenError> {
        let claims = self.tokens.verify(token, audience, self.now())?;
        let lives = |resource, name: &str, uid: &str| {
            let found = self.store.get(&Key { resource, namespace: claims.namespace.clone(), name: name.into() });
            found.is_some_and(|object| uid_of(&object) == uid)
        };
        let account = lives(SERVICE_ACCOUNTS, &claims.service_account, &claims.service_account_uid);
        let pod = claims.pod.as_ref().is_none_or(|pod| lives(PODS, &pod.name, &pod.uid));
        if account && pod { Ok(Identity::of_service_account(&claims)) } else { Err(TokenError::Gone) }
    }
}

const TOKEN_REQUEST: GroupKind = GroupKind::of("authentication.k8s.io", "TokenRequest");

fn expiry(now: Timestamp, seconds: i64) -> Result<Timestamp, ApiError> {
    now.checked_add(SignedDuration::from_secs(seconds)).map_err(ApiError::internal)
}

fn uid_of(object: &Object) -> String {
    object.value["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}
