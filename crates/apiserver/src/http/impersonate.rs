//! Callers who act as somebody else: `kubectl --as`.

use hyper::HeaderMap;

use crate::api::Api;
use crate::auth::Identity;
use crate::auth::rbac::{Access, Action, ResourceAction};
use crate::error::ApiError;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Who a request is to be answered for: the caller, or whom the caller may and wants to be.
pub(super) fn acting_identity(api: &Api, caller: Identity, headers: &HeaderMap) -> Result<Identity, ApiError> {
    let groups: Vec<&str> = headers.get_all(GROUP).iter().filter_map(|value| value.to_str().ok()).collect();
    let Some(user) = headers.get(USER).and_then(|value| value.to_str().ok()) else {
        return match groups.as_slice() {
            [] => Ok(caller),
            _ => Err(ApiError::bad_request(format!("{GROUP} needs {USER} beside it"))),
        };
    };
    let may_be = |resource, namespace, name| {
        let action = ResourceAction { verb: "impersonate", group: "", resource, subresource: "", namespace, name };
        Access::of(&api.store).check(&caller, Action::Resource(action))
    };
    let account = user.strip_prefix(SERVICE_ACCOUNT).and_then(|account| account.split_once(':'));
    match account {
        Some((namespace, name)) => may_be("serviceaccounts", namespace, name)?,
        None => may_be("users", "", user)?,
    }
    for group in &groups {
        may_be("groups", "", group)?;
    }
    Ok(match account {
        Some((namespace, _)) if groups.is_empty() => Identity::of_user(
            user,
            ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")],
        ),
        _ => Identity::of_user(user, groups),
    })
}
