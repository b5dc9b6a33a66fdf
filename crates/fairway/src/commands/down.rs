//! `fairway down`

use std::process::ExitCode;

use anyhow::{Result, bail};
use sandbox::machine::{StateDir, list_records, tear_down};

use super::launch::{forget_lock, lock};
use super::{kubeconfig, state_root};
use crate::cli::DownArgs;

/// Removes one sandbox, or every one, and says what was removed.
pub fn run(args: &DownArgs) -> Result<ExitCode> {
    let root = state_root()?;
    if args.all {
        let failed: Vec<String> = list_records(&root)
            .iter()
            .filter_map(|(state, record)| remove(state).err().map(|error| format!("{}: {error:#}", record.spec.name())))
            .collect();
        if !failed.is_empty() {
            bail!("not all of them could be removed: {}", failed.join("; "));
        }
        return Ok(ExitCode::SUCCESS);
    }
    remove(&StateDir::new(&root, &args.sandbox.name)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Removes the sandbox in `state`, whatever is left of it, and its context.
pub fn remove(state: &StateDir) -> Result<()> {
    let name = state.path().file_name().unwrap_or_default().display();
    if !state.path().exists() {
        eprintln!("sandbox {name} does not exist; nothing to remove");
        return Ok(());
    }
    let _held = lock(state)?;
    let record = state.read_record().ok().flatten();
    let removed = tear_down(state)?;
    let context = match &record {
        Some(record) => kubeconfig::remove(&record.kubeconfig, &record.context)?.then_some(&record.context),
        None => None,
    };
    forget_lock(state);
    eprintln!(
        "sandbox {name} removed: {} processes, {} network namespaces, {} files{}",
        removed.processes,
        removed.network_namespaces,
        removed.files,
        context.map(|context| format!(", context {context:?}")).unwrap_or_default(),
    );
    Ok(())
}
