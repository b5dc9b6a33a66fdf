//! The command lines by which this binary starts itself in another role.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::record::{RecordError, StateDir};
use super::spec::Spec;

/// What every process of a sandbox is told: where its state lies and what the sandbox looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleArgs {
    state: StateDir,
    spec: Spec,
}

impl RoleArgs {
    /// The arguments for processes of the sandbox in `state`.
    pub fn new(state: &StateDir, spec: &Spec) -> Self {
        Self { state: state.clone(), spec: spec.clone() }
    }

    /// The arguments back from a command line: the state directory and the shape as JSON.
    ///
    /// # Errors
    /// When the shape is not what [`RoleArgs::command`] wrote or the directory has no sandbox's name.
    pub fn parse(state: &Path, spec: &str) -> Result<Self, RecordError> {
        let spec: Spec = serde_json::from_str(spec)
            .map_err(|source| RecordError::Malformed { path: PathBuf::from("--spec"), source })?;
        let root = state.parent().unwrap_or(Path::new("/"));
        Ok(Self { state: StateDir::new(root, spec.name())?, spec })
    }

    /// The state directory.
    pub const fn state(&self) -> &StateDir {
        &self.state
    }

    /// The shape of the sandbox.
    pub const fn spec(&self) -> &Spec {
        &self.spec
    }

    /// This binary again, in `role`.
    pub fn command(&self, role: &str) -> Command {
        // The link survives a rebuild of the file it was started from.
        let mut command = Command::new("/proc/self/exe");
        command.arg(role).arg("--state").arg(self.state.path());
        command.arg("--spec").arg(serde_json::json!(self.spec).to_string());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Shape;

    #[test]
    fn arguments_survive_the_command_line() {
        let spec = Spec::new(Shape { name: "x".into(), ..Shape::default() }).unwrap();
        let args = RoleArgs::new(&StateDir::new(Path::new("/var/lib/fairway"), "x").unwrap(), &spec);
        let command = args.command("node");
        let line: Vec<_> = command.get_args().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(line[..3], ["node", "--state", "/var/lib/fairway/x"]);
        assert_eq!(RoleArgs::parse(Path::new(line[2]), line[4]).unwrap(), args);
    }
}
