//! Running one plugin.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{Attachment, CniError, INTERFACE};

/// How long a plugin may take: as long as container runtimes give one.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a plugin is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Attach.
    Add,
    /// Undo.
    Delete,
    /// Verify.
    Check,
}

impl Verb {
    fn command(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Delete => "DEL",
            Self::Check => "CHECK",
        }
    }

    fn lower(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Delete => "delete",
            Self::Check => "check",
        }
    }
}

/// One call of one plugin.
pub struct Call<'a> {
    /// What to do.
    pub verb: Verb,
    /// The plugin's type.
    pub plugin: &'a str,
    /// Where plugins are.
    pub plugins: &'a Path,
    /// For whom.
    pub attachment: &'a Attachment<'a>,
    /// What the plugin reads.
    pub request: Value,
}

impl Call<'_> {
    fn environment(&self) -> [(&'static str, String); 6] {
        let Attachment { sandbox, netns, pod_namespace, pod_name, pod_uid, .. } = self.attachment;
        [
            ("CNI_COMMAND", self.verb.command().to_owned()),
            ("CNI_CONTAINERID", (*sandbox).to_owned()),
            ("CNI_NETNS", netns.display().to_string()),
            ("CNI_IFNAME", INTERFACE.to_owned()),
            ("CNI_PATH", self.plugins.display().to_string()),
            (
                "CNI_ARGS",
                format!(
                    "K8S_POD_NAMESPACE={pod_namespace};K8S_POD_NAME={pod_name};K8S_POD_INFRA_CONTAINER_ID={sandbox};\
                     K8S_POD_UID={pod_uid};IgnoreUnknown=1"
                ),
            ),
        ]
    }
}

/// Runs a plugin; gives back the result it printed, if any.
pub async fn invoke(call: &Call<'_>) -> Result<Option<Value>, CniError> {
    let (plugin, verb) = (call.plugin.to_owned(), call.verb.lower());
    let failed = |source| CniError::Run { plugin: plugin.clone(), directory: call.plugins.to_path_buf(), source };
    let mut child = Command::new(call.plugins.join(call.plugin))
        .envs(call.environment())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A plugin that does not read its input has its reasons, and will say so.
        let _ = stdin.write_all(call.request.to_string().as_bytes()).await;
    }
    let Ok(output) = tokio::time::timeout(PATIENCE, child.wait_with_output()).await else {
        return Err(CniError::Late { plugin, verb });
    };
    let output = output.map_err(failed)?;
    let said: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    if output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        return match said {
            None if !text.is_empty() && call.verb == Verb::Add => Err(CniError::Result { plugin, text }),
            said => Ok(said),
        };
    }
    match said.as_ref().and_then(|error| error["msg"].as_str()) {
        Some(message) => {
            let details = said.as_ref().and_then(|error| error["details"].as_str()).filter(|text| !text.is_empty());
            let message = details.map_or_else(|| message.to_owned(), |details| format!("{message}; {details}"));
            Err(CniError::Refused { plugin, verb, message })
        }
        None => {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(match words.is_empty() {
                true => CniError::Silent { plugin, verb, status: output.status },
                false => CniError::Refused { plugin, verb, message: words },
            })
        }
    }
}
