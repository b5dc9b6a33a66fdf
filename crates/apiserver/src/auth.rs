//! Who is calling (client certificates, service account tokens, the trusted unix socket) and what they may do.

mod certificate;
pub(crate) mod rbac;
mod token;

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub(crate) use certificate::identity_of_certificate;
pub use token::TokenKey;
pub(crate) use token::{Claims, PodReference, TokenError, Tokens};

/// A caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub user: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// The caller on the unix socket: whoever can open it may do everything.
    pub fn trusted() -> Self {
        Self::of_user("system:admin", ["system:masters"])
    }

    /// A user known by name, with these groups and the one of everybody who is known.
    pub fn of_user<G: Into<String>>(user: impl Into<String>, groups: impl IntoIterator<Item = G>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().map(Into::into).collect();
        groups.push("system:authenticated".into());
        Self { user: user.into(), uid: String::new(), groups, extra: BTreeMap::new() }
    }

    /// The service account a valid token speaks for.
    pub fn of_service_account(claims: &Claims) -> Self {
        let (namespace, name) = (&claims.namespace, &claims.service_account);
        let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        let mut identity = Self::of_user(format!("system:serviceaccount:{namespace}:{name}"), groups);
        identity.uid.clone_from(&claims.service_account_uid);
        if let Some(pod) = &claims.pod {
            let extra = [("pod-name", &pod.name), ("pod-uid", &pod.uid)];
            let key = |name| format!("authentication.kubernetes.io/{name}");
            identity.extra = extra.map(|(name, value)| (key(name), vec![value.clone()])).into();
        }
        identity
    }

    /// The `userInfo` of the authentication kinds.
    pub fn to_user_info(&self) -> Value {
        let mut info = json!({ "username": self.user, "groups": self.groups });
        if !self.uid.is_empty() {
            info["uid"] = json!(self.uid);
        }
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }
}
