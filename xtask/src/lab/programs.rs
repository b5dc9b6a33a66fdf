//! Programs the lab builds: Kubernetes, its suite, CoreDNS, Helm and the CNI plugins.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::cache::Cache;
use super::progress::Progress;
use super::versions::{CNI_PLUGINS, COREDNS, GoProgram, HELM, KUBERNETES, PAUSE_IMAGE};
use crate::process::{find_program, output};

/// The names under which the one program of Kubernetes is called.
const KUBERNETES_NAMES: [&str; 5] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"];
/// How many compiled packages make a line of progress.
const PACKAGES_A_LINE: usize = 200;

/// Where the built programs are.
pub struct Programs {
    /// Folder of Kubernetes' five programs.
    pub kubernetes: PathBuf,
    /// The program every machine of the lab begins with.
    pub machine: PathBuf,
    /// The client that measures.
    pub probe: PathBuf,
    /// Kubernetes' end-to-end suite.
    pub suite: PathBuf,
    /// What goes into images, as it is called there.
    pub in_images: Vec<PathBuf>,
    /// The CNI plugins.
    pub plugins: Vec<PathBuf>,
}

/// How one folder of the cache comes to be.
struct Recipe {
    name: &'static str,
    how: How,
}

enum How {
    /// `go build` in `lab/`: a package and its own sources there.
    Build { package: &'static str, sources: Option<&'static str> },
    /// `go test -c` in `lab/`.
    Test { package: &'static str },
    /// `go install PACKAGE@VERSION`.
    Install(&'static GoProgram),
    /// Kubernetes' own C program.
    Pause,
}

const FROM_LAB: [Recipe; 7] = [
    Recipe { name: "kubernetes", how: How::Build { package: "./kubernetes", sources: Some("kubernetes") } },
    Recipe { name: "machine", how: How::Build { package: "./machine", sources: Some("machine") } },
    Recipe { name: "probe", how: How::Build { package: "./probe", sources: Some("probe") } },
    Recipe { name: "agnhost", how: How::Build { package: "k8s.io/kubernetes/test/images/agnhost", sources: None } },
    Recipe {
        name: "regression-issue-74839",
        how: How::Build { package: "k8s.io/kubernetes/test/images/regression-issue-74839", sources: None },
    },
    Recipe { name: "e2e.test", how: How::Test { package: "k8s.io/kubernetes/test/e2e" } },
    Recipe { name: "pause", how: How::Pause },
];

/// Builds what is not in the cache.
pub fn build(cache: &Cache, module: &Path, progress: Progress) -> Result<Programs> {
    let workshop = Workshop { cache, module, go: go_version()?, progress };
    let own: Vec<PathBuf> = FROM_LAB.iter().map(|recipe| workshop.make(recipe)).collect::<Result<_>>()?;
    let install =
        |program: &'static GoProgram| workshop.make(&Recipe { name: program.name, how: How::Install(program) });
    let coredns = install(&COREDNS)?;
    let plugins: Vec<PathBuf> = CNI_PLUGINS.iter().map(install).collect::<Result<_>>()?;
    let Ok([kubernetes, machine, probe, agnhost, regression, suite, pause]) = <[PathBuf; 7]>::try_from(own) else {
        bail!("the table of programs has changed");
    };
    Ok(Programs {
        kubernetes: kubernetes.parent().context("no folder")?.to_owned(),
        machine,
        probe: probe.clone(),
        suite,
        in_images: vec![probe, agnhost, coredns, regression, pause],
        plugins,
    })
}

/// Builds Helm if it is not in the cache.
pub fn build_helm(cache: &Cache, module: &Path, progress: Progress) -> Result<PathBuf> {
    let workshop = Workshop { cache, module, go: go_version()?, progress };
    workshop.make(&Recipe { name: HELM.name, how: How::Install(&HELM) })
}

struct Workshop<'a> {
    cache: &'a Cache,
    module: &'a Path,
    /// The compiler, as it names itself.
    go: String,
    progress: Progress,
}

impl Workshop<'_> {
    /// The program of a recipe, built if it is not there.
    fn make(&self, recipe: &Recipe) -> Result<PathBuf> {
        let place = self.cache.place(recipe.name, &self.inputs(&recipe.how)?);
        if !place.exists() {
            self.progress.say(format!("building   {}", recipe.name));
        }
        self.cache
            .fill(&place, |folder| self.build(recipe, &folder.join(recipe.name)))
            .with_context(|| format!("cannot build {}", recipe.name))?;
        Ok(place.join(recipe.name))
    }

    fn inputs(&self, how: &How) -> Result<Vec<Vec<u8>>> {
        let mut inputs = vec![self.go.clone().into_bytes(), how.words().join(" ").into_bytes()];
        if !matches!(how, How::Install(_)) {
            inputs.push(read(&self.module.join("go.mod"))?);
            inputs.push(read(&self.module.join("go.sum"))?);
        }
        if let How::Build { sources: Some(folder), .. } = how {
            let folder = self.module.join(folder);
            let listed = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
            let mut files: Vec<PathBuf> = listed.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
            files.sort();
            files.iter().try_for_each(|file| read(file).map(|text| inputs.push(text)))?;
        }
        Ok(inputs)
    }

    fn build(&self, recipe: &Recipe, target: &Path) -> Result<()> {
        if let How::Pause = recipe.how {
            return self.build_pause(target);
        }
        let mut go = Command::new("go");
        go.args(recipe.how.words()).current_dir(self.module).env("CGO_ENABLED", "0");
        match recipe.how {
            How::Install(_) => go.env("GOBIN", target.parent().context("no folder")?),
            _ => go.arg("-o").arg(target).arg(recipe.how.package()),
        };
        self.compile(&mut go, recipe.name)?;
        if recipe.name == "kubernetes" {
            let folder = target.parent().context("no folder")?;
            KUBERNETES_NAMES.iter().try_for_each(|name| symlink("kubernetes", folder.join(name)))?;
        }
        Ok(())
    }

    /// Runs the compiler, which names on standard error each package it compiles.
    fn compile(&self, go: &mut Command, name: &str) -> Result<()> {
        let mut child = go.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot run go")?;
        let told = BufReader::new(child.stderr.take().context("no standard error")?);
        let mut lines = Vec::new();
        for line in told.lines() {
            lines.push(line?);
            if lines.len().is_multiple_of(PACKAGES_A_LINE) {
                self.progress.say(format!("           {name}: {} packages compiled", lines.len()));
            }
        }
        if !child.wait()?.success() {
            bail!("go {}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        Ok(())
    }

    fn build_pause(&self, target: &Path) -> Result<()> {
        let mut list = Command::new("go");
        let folder = output(list.args(["list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"]).current_dir(self.module))?;
        let source = Path::new(folder.trim()).join("build/pause/linux/pause.c");
        let version = PAUSE_IMAGE.rsplit(':').next().unwrap_or_default();
        let mut compiler = Command::new("cc");
        compiler.args(["-Os", "-static"]).arg(format!("-DVERSION=v{version}")).arg("-o").arg(target).arg(source);
        output(&mut compiler).map(|_| ())
    }
}

impl How {
    /// The words for `go`; they decide what comes out, so they are part of its name in the cache.
    fn words(&self) -> Vec<String> {
        let words = |first: &[&str]| first.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let flags = [vec!["-v".to_owned(), "-ldflags".to_owned(), linker_flags()]].concat();
        match self {
            Self::Build { .. } => [words(&["build"]), flags].concat(),
            Self::Test { .. } => [words(&["test", "-c"]), flags].concat(),
            Self::Install(program) => {
                let package = format!("{}@{}", program.package, program.version);
                words(&["install", "-v", "-ldflags", "-s -w", &package])
            }
            Self::Pause => words(&["pause", PAUSE_IMAGE]),
        }
    }

    fn package(&self) -> &'static str {
        match self {
            Self::Build { package, .. } | Self::Test { package } => package,
            Self::Install(program) => program.package,
            Self::Pause => "",
        }
    }
}

/// Without these every program of Kubernetes would say that it is version 0.0.0.
fn linker_flags() -> String {
    let mut numbers = KUBERNETES.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let set = |name: &str, value: &str| format!(" -X k8s.io/component-base/version.{name}={value}");
    let versions = [set("gitVersion", KUBERNETES), set("gitMajor", major), set("gitMinor", minor)];
    format!("-s -w{}", versions.concat())
}

fn go_version() -> Result<String> {
    if find_program("go").is_none() {
        bail!("no `go` on the PATH; the lab builds Kubernetes with it (1.26 or newer)");
    }
    output(Command::new("go").arg("version"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
