//! The archive of one image: an OCI image layout (OCI image specification 1.1) with the list that `docker load` wants
//! beside it.

use std::env::consts::ARCH;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::tar::Tar;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What goes into an image: one program and nothing else.
#[derive(Debug)]
pub struct Image<'a> {
    /// Its path from the image's root.
    pub program: &'a str,
    /// Its bytes.
    pub binary: &'a [u8],
    /// The names the image gets, as in a pod's `image`.
    pub tags: &'a [String],
    /// The version of it all.
    pub version: &'a str,
}

/// Bytes that are named by their digest.
struct Blob {
    media_type: &'static str,
    digest: String,
    content: Vec<u8>,
}

impl Image<'_> {
    /// The archive as engines import it.
    pub fn archive(&self) -> Vec<u8> {
        let layer = Blob::new(LAYER, self.layer());
        let config = Blob::new(CONFIG, text(&self.config(&layer)));
        let manifest = Blob::new(MANIFEST, text(&manifest(&config, &layer)));
        let mut tar = Tar::default();
        tar.file("oci-layout", 0o644, &text(&json!({ "imageLayoutVersion": "1.0.0" })));
        tar.file("index.json", 0o644, &text(&self.index(&manifest)));
        let docker = json!([{ "Config": config.path(), "RepoTags": self.tags, "Layers": [layer.path()] }]);
        tar.file("manifest.json", 0o644, &text(&docker));
        tar.directory("blobs");
        tar.directory("blobs/sha256");
        for blob in [&config, &manifest, &layer] {
            tar.file(&blob.path(), 0o644, &blob.content);
        }
        tar.finish()
    }

    fn layer(&self) -> Vec<u8> {
        let mut tar = Tar::default();
        let folders = self.program.match_indices('/').map(|(end, _)| &self.program[..end]);
        folders.for_each(|folder| tar.directory(folder));
        tar.file(self.program, 0o755, self.binary);
        tar.finish()
    }

    fn config(&self, layer: &Blob) -> Value {
        json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": [format!("/{}", self.program)],
                "Env": ["PATH=/bin"],
                "Labels": {
                    "org.opencontainers.image.title": "fairway",
                    "org.opencontainers.image.version": self.version,
                    "org.opencontainers.image.licenses": "Apache-2.0",
                },
            },
            "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
        })
    }

    fn index(&self, manifest: &Blob) -> Value {
        let named = |tag: &String| {
            let name = full_name(tag);
            let mut descriptor = manifest.descriptor();
            descriptor["annotations"] = json!({
                // containerd takes the first, podman and skopeo the second.
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": name,
            });
            descriptor
        };
        json!({ "schemaVersion": 2, "manifests": self.tags.iter().map(named).collect::<Vec<_>>() })
    }
}

impl Blob {
    fn new(media_type: &'static str, content: Vec<u8>) -> Self {
        let digest: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { media_type, digest: format!("sha256:{digest}"), content }
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }

    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.content.len() })
    }
}

fn manifest(config: &Blob, layer: &Blob) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    })
}

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// The architecture in the words of the Go language, which images use.
fn architecture() -> &'static str {
    match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The name with registry and project, by which engines keep what a pod calls by the short one.
fn full_name(tag: &str) -> String {
    match tag.split_once('/') {
        None => format!("docker.io/library/{tag}"),
        Some((first, _)) if first == "localhost" || first.contains(['.', ':']) => tag.to_owned(),
        Some(_) => format!("docker.io/{tag}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(binary: &[u8]) -> Vec<u8> {
        Image { program: "bin/fairway", binary, tags: &["fairway:1".to_owned()], version: "1" }.archive()
    }

    #[test]
    fn the_same_program_is_the_same_image_and_another_is_not() {
        assert_eq!(archive(b"one"), archive(b"one"));
        assert_ne!(archive(b"one"), archive(b"two"));
    }

    #[test]
    fn names_are_completed_as_engines_do() {
        for (short, full) in [
            ("fairway:1", "docker.io/library/fairway:1"),
            ("me/fairway:1", "docker.io/me/fairway:1"),
            ("localhost/fairway:1", "localhost/fairway:1"),
            ("localhost:5000/fairway:1", "localhost:5000/fairway:1"),
            ("registry.example.com/net/fairway:1", "registry.example.com/net/fairway:1"),
        ] {
            assert_eq!(full_name(short), full);
        }
    }

    #[test]
    fn a_blob_is_named_by_the_digest_of_its_bytes() {
        let blob = Blob::new(LAYER, b"abc".to_vec());
        // FIPS 180-4, appendix B.1.
        let expected = "blobs/sha256/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(blob.path(), expected);
    }
}
