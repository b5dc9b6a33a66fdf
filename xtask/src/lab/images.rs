//! One image archive that serves every image the suites ask for: a small Debian, and the programs on top.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::cache::{Cache, digest, digest_of_file};
use super::progress::Progress;
use super::versions::{IMAGE_PACKAGES, IMAGES, Image};
use crate::process::{output, run};

/// What a running system needs and an image does not.
const LEFT_OUT: [&str; 9] = [
    "./dev/*",
    "./proc/*",
    "./sys/*",
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./var/log/*",
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
];

/// The archive with every image of the lab, made if it is not in the cache.
pub fn build(cache: &Cache, programs: &[PathBuf], progress: Progress) -> Result<PathBuf> {
    let base = base_layer(cache, progress)?;
    let described = serde_json::to_vec(&IMAGES.iter().map(|image| configuration(image, &[])).collect::<Vec<_>>())?;
    let names = IMAGES.map(|image| image.name).join(" ");
    let sources: Vec<Vec<u8>> =
        programs.iter().chain([&base]).map(|path| path.as_os_str().as_encoded_bytes().to_vec()).collect();
    let mut inputs = vec![&described[..], names.as_bytes()];
    inputs.extend(sources.iter().map(Vec::as_slice));
    let place = cache.place("images", &inputs);
    if !place.exists() {
        progress.say(format!("images     {} names, one content", IMAGES.len()));
    }
    cache.fill(&place, |folder| write_archive(folder, &base, programs)).context("cannot make the images")?;
    Ok(place.join("images.tar"))
}

/// A Debian with what the suites run in pods, as one layer.
fn base_layer(cache: &Cache, progress: Progress) -> Result<PathBuf> {
    let release = debian_release()?;
    let packages = IMAGE_PACKAGES.join(",");
    let place = cache.place("base", &[release.as_bytes(), packages.as_bytes(), LEFT_OUT.join(" ").as_bytes()]);
    cache
        .fill(&place, |folder| {
            let mirror = debian_mirror(&release)?;
            progress.say(format!("images     Debian {release} from {mirror}"));
            let root = folder.join("root");
            let include = format!("--include={packages}");
            let mut debootstrap = Command::new("debootstrap");
            run(debootstrap.args(["--variant=minbase", &include, &release]).arg(&root).arg(&mirror))?;
            write_certificate(&root)?;
            let excluded = LEFT_OUT.map(|pattern| format!("--exclude={pattern}"));
            write_tar(&folder.join("layer.tar"), &root, &excluded, &["."])?;
            fs::remove_dir_all(&root).context("cannot remove what is in the layer now")
        })
        .context("cannot make the base image")?;
    Ok(place.join("layer.tar"))
}

/// Any pair will do; a server among the test programs wants one at this place.
fn write_certificate(root: &Path) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=localhost"]);
    run(openssl.arg("-keyout").arg(root.join("localhost.key")).arg("-out").arg(root.join("localhost.crt")))
}

/// The archive format of `docker save`, which container runtimes import.
fn write_archive(folder: &Path, base: &Path, programs: &[PathBuf]) -> Result<()> {
    let upper = folder.join("upper");
    fs::create_dir(&upper)?;
    for program in programs {
        let target = upper.join(program.file_name().context("a program without a name")?);
        fs::copy(program, &target).with_context(|| format!("cannot copy {}", program.display()))?;
    }
    write_tar(&folder.join("programs.tar"), &upper, &[], &["."])?;
    fs::remove_dir_all(&upper)?;
    fs::hard_link(base, folder.join("base.tar")).context("cannot link the base layer")?;
    let layers = ["base.tar", "programs.tar"];
    write_images(folder, &layers, &IMAGES, &folder.join("images.tar"))?;
    layers.iter().try_for_each(|layer| fs::remove_file(folder.join(layer)).map_err(Into::into))
}

/// Writes an archive of `images` that all have the same layers, which are files of `folder`.
fn write_images(folder: &Path, layers: &[&str], images: &[Image], target: &Path) -> Result<()> {
    let digests: Vec<String> = layers.iter().map(|layer| digest_of_file(&folder.join(layer))).collect::<Result<_>>()?;
    let mut members: Vec<String> = vec!["manifest.json".into()];
    let mut manifest = Vec::new();
    for image in images {
        let text = serde_json::to_vec(&configuration(image, &digests))?;
        let name = format!("{}.json", digest(&text));
        fs::write(folder.join(&name), text)?;
        manifest.push(json!({ "Config": name, "RepoTags": [image.name], "Layers": layers }));
        if !members.contains(&name) {
            members.push(name);
        }
    }
    fs::write(folder.join("manifest.json"), serde_json::to_vec(&manifest)?)?;
    let content: Vec<&str> = members.iter().map(String::as_str).chain(layers.iter().copied()).collect();
    write_tar(target, folder, &[], &content)
}

fn configuration(image: &Image, layers: &[String]) -> Value {
    let layers: Vec<String> = layers.iter().map(|digest| format!("sha256:{digest}")).collect();
    json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {
            "Entrypoint": image.entrypoint,
            "Cmd": image.arguments,
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "rootfs": { "type": "layers", "diff_ids": layers },
    })
}

/// A tar file that is the same whenever its content is.
fn write_tar(target: &Path, folder: &Path, options: &[String], members: &[&str]) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--mtime=@0", "--numeric-owner"]).args(options);
    run(tar.arg("-C").arg(folder).arg("-cf").arg(target).arg("--").args(members))
}

fn debian_release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(codename.context("/etc/os-release names no release of Debian")?.to_owned())
}

/// Where this machine gets the packages of its release from.
fn debian_mirror(release: &str) -> Result<String> {
    let fields = "$(ORIGIN) $(CODENAME) $(REPO_URI)";
    let told = output(Command::new("apt-get").args(["indextargets", "--format", fields]))?;
    let mirror = told.lines().find_map(|line| line.strip_prefix(&format!("Debian {release} ")));
    Ok(mirror.with_context(|| format!("apt knows no repository of Debian {release}"))?.to_owned())
}
