//! Kubeconfig files: which one, and how they are read and written.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::Value;

use super::context::{self, KubeContext};

/// The kubeconfig kubectl would write to: the first of `KUBECONFIG`, else `~/.kube/config`.
pub fn default_path() -> Result<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty());
    if let Some(first) = listed.and_then(|list| std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty()))
    {
        return Ok(first);
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let home = home.context("no place for the kubeconfig: set HOME or KUBECONFIG, or use --kubeconfig FILE")?;
    Ok(PathBuf::from(home).join(".kube/config"))
}

/// Adds the context to the file and selects it there.
pub fn add(path: &Path, context: &KubeContext) -> Result<()> {
    write(path, &context::merged(read(path)?, context))
}

/// Takes the context out of the file; a file that held nothing else goes with it. True when something was there.
pub fn remove(path: &Path, name: &str) -> Result<bool> {
    let config = read(path)?;
    let present = config["contexts"].as_array().is_some_and(|list| list.iter().any(|entry| entry["name"] == name));
    if !present {
        return Ok(false);
    }
    let left = context::without(config, name);
    if context::is_empty(&left) {
        fs::remove_file(path).with_context(|| format!("cannot delete {}", path.display()))?;
    } else {
        write(path, &left)?;
    }
    Ok(true)
}

/// The context `name` of the file; `None` when it is not there.
pub fn find(path: &Path, name: &str) -> Result<Option<KubeContext>> {
    Ok(KubeContext::find(&read(path)?, name))
}

/// The name of the context selected in the file; `None` when there is none.
pub fn selected(path: &Path) -> Option<String> {
    let config = read(path).ok()?;
    config["current-context"].as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// A kubeconfig with this context alone, as a file without a name: it ends with the last process that has it open.
/// Processes started from this one inherit it.
pub fn unnamed(context: &KubeContext) -> Result<fs::File> {
    let text = serde_saphyr::to_string(&context::merged(Value::Null, context))?;
    let mut file = fs::File::from(memfd_create(c"kubeconfig", MFdFlags::empty())?);
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// The file as a value; null when there is none.
fn read(path: &Path) -> Result<Value> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Value::Null),
        Err(error) => return Err(error).with_context(|| format!("cannot read kubeconfig {}", path.display())),
    };
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    let config: Value = serde_saphyr::from_str(&text)
        .with_context(|| format!("kubeconfig {} is not YAML; mend it or use --kubeconfig FILE", path.display()))?;
    ensure!(config.is_object(), "kubeconfig {} is not a mapping; mend it or use --kubeconfig FILE", path.display());
    Ok(config)
}

/// Replaces the file as a whole, readable by the owner alone.
fn write(path: &Path, config: &Value) -> Result<()> {
    // Through a link the file it points to is replaced, not the link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let failed = || format!("cannot write kubeconfig {}", path.display());
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    let draft = path.with_extension(format!("fairway-{}", std::process::id()));
    let text = serde_saphyr::to_string(config).with_context(failed)?;
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // The first failure is the one worth telling.
        let _ = fs::remove_file(&draft);
    }
    written.with_context(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn context() -> KubeContext {
        KubeContext {
            name: "fairway".into(),
            server: "https://127.0.0.1:6443".into(),
            authority: "Y2E=".into(),
            certificate: "Y2VydA==".into(),
            key: "a2V5".into(),
        }
    }

    #[test]
    fn a_new_file_is_private_and_goes_with_its_only_context() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/config");
        add(&path, &context()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(remove(&path, "fairway").unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn a_users_own_contexts_survive_both_ways() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let own = "apiVersion: v1\nkind: Config\ncurrent-context: mine\nclusters:\n- name: mine\n  cluster: {server: 'https://x'}\n\
            users: []\ncontexts:\n- name: mine\n  context: {cluster: mine, user: ''}\n";
        fs::write(&path, own).unwrap();
        add(&path, &context()).unwrap();
        assert!(remove(&path, "fairway").unwrap());
        let left = read(&path).unwrap();
        assert_eq!(left["contexts"][0]["name"], "mine");
        assert_eq!(left["clusters"][0]["cluster"]["server"], "https://x");
        assert!(!remove(&path, "fairway").unwrap());
    }

    #[test]
    fn a_broken_kubeconfig_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        fs::write(&path, "{ broken").unwrap();
        assert!(add(&path, &context()).unwrap_err().to_string().contains("is not YAML"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "{ broken");
    }
}
