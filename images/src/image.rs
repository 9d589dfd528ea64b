//! Images: manifests, configurations and layers as bytes that are named by their digests.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use oci_spec::image::{
    ANNOTATION_DESCRIPTION, ANNOTATION_LICENSES, ANNOTATION_SOURCE, ANNOTATION_TITLE, ANNOTATION_VERSION,
    Arch, Config, ConfigBuilder, Descriptor, DescriptorBuilder, ImageConfigurationBuilder, ImageIndexBuilder,
    ImageManifestBuilder, MediaType, Os, PlatformBuilder, RootFsBuilder, Sha256Digest,
};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::archive::{File, compress, pack};

/// The only file of a wasm module's image, where Istio's agent and Envoy Gateway look for it.
pub const MODULE: &str = "plugin.wasm";
/// Says that a module is in a layer of the standard type (wasm image specification, variant "compat"). Istio and Envoy
/// Gateway go by the layer; others by this.
const VARIANT: (&str, &str) = ("module.wasm.image/variant", "compat");
/// Programs of an image are here, and on its PATH.
pub const PROGRAMS: &str = "bin";
/// A user that is not root, as Pods that must not be root ask for; it has no name and owns nothing.
const USER: &str = "65532:65532";

/// An image: what its digest names, and all that is below it.
#[derive(Debug, PartialEq, Eq)]
pub struct Image {
    /// The manifest, or the index of manifests for several platforms.
    pub root: Blob,
    /// The index's manifests, by platform (`linux/amd64`); none if the root is a manifest.
    pub platforms: Vec<(String, Blob)>,
    /// Configurations and layers.
    pub blobs: Vec<Blob>,
}

/// Bytes that are named by their digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// What they are.
    pub media_type: MediaType,
    /// Their SHA-256, in lower-case hexadecimal without a prefix.
    pub sha256: String,
    /// The bytes.
    pub bytes: Bytes,
}

/// What labels and annotations say of an image (OCI image specification, "Pre-Defined Annotation Keys"). A date is not
/// among it: it would change the digest.
#[derive(Clone, Copy, Default)]
pub struct About<'a> {
    /// Its name for people.
    pub title: &'a str,
    /// The version of what it holds.
    pub version: &'a str,
    /// One line on what it is for.
    pub description: Option<&'a str>,
    /// An SPDX expression.
    pub licences: Option<&'a str>,
    /// Where its source code is.
    pub source: Option<&'a str>,
}

impl Image {
    /// The image of a wasm module: what `docker build` makes of `FROM scratch` and a `COPY`, but reproducibly.
    ///
    /// # Errors
    /// If the module is larger than a tar archive can say, 8 GiB.
    pub fn of_module(module: &[u8], about: &About<'_>) -> Result<Self> {
        let file = File { path: MODULE, executable: false, bytes: module };
        let config = ConfigBuilder::default().labels(about.labels()).build()?;
        let mut annotations = about.labels();
        annotations.insert(VARIANT.0.to_owned(), VARIANT.1.to_owned());
        // The platform is what container engines ask for; a module runs on any.
        let (root, blobs) = manifest(&Arch::Amd64, &[file], config, annotations)?;
        Ok(Self { root, platforms: Vec::new(), blobs })
    }

    /// The image of files that each platform has its own of, by the platform's architecture as images name it
    /// (`amd64`). Run, it is the program `entry` in [`PROGRAMS`]; so it can be an init container, and mounted as a
    /// volume it shows its files.
    ///
    /// # Errors
    /// If a file is larger than a tar archive can say, 8 GiB.
    pub fn of_platforms(platforms: &[(&str, Vec<File<'_>>)], entry: &str, about: &About<'_>) -> Result<Self> {
        let mut image =
            Self { root: Blob::new(MediaType::ImageIndex, Vec::new()), platforms: vec![], blobs: vec![] };
        let mut manifests = Vec::new();
        for (architecture, files) in platforms {
            let config = ConfigBuilder::default()
                .user(USER)
                .env(vec![format!("PATH=/{PROGRAMS}")])
                .entrypoint(vec![format!("/{PROGRAMS}/{entry}")])
                .labels(about.labels())
                .build()?;
            let architecture = Arch::from(*architecture);
            let (root, blobs) = manifest(&architecture, files, config, about.labels())?;
            let mut descriptor = root.descriptor()?;
            let name = format!("{}/{architecture}", Os::Linux);
            let platform = PlatformBuilder::default().os(Os::Linux).architecture(architecture).build()?;
            descriptor.set_platform(Some(platform));
            manifests.push(descriptor);
            image.platforms.push((name, root));
            image.blobs.extend(blobs);
        }
        let index = ImageIndexBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageIndex)
            .manifests(manifests)
            .annotations(about.labels())
            .build()?;
        image.root = Blob::of_json(MediaType::ImageIndex, &index)?;
        Ok(image)
    }

    /// Its digest, `sha256:` and hexadecimal digits.
    pub fn digest(&self) -> String {
        self.root.digest()
    }

    /// Every manifest, the root last: a registry takes none whose parts it does not have.
    pub fn manifests(&self) -> impl Iterator<Item = &Blob> {
        self.platforms.iter().map(|(_, manifest)| manifest).chain([&self.root])
    }
}

impl Blob {
    /// Bytes and their digest.
    pub fn new(media_type: MediaType, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { media_type, sha256: sha256(&bytes), bytes }
    }

    fn of_json(media_type: MediaType, value: &impl Serialize) -> Result<Self> {
        Ok(Self::new(media_type, json(value)?))
    }

    /// Its digest as the specification writes it.
    pub fn digest(&self) -> String {
        format!("sha256:{}", self.sha256)
    }

    /// What refers to it.
    ///
    /// # Errors
    /// None that is known: the digest is well-formed.
    pub fn descriptor(&self) -> Result<Descriptor> {
        Ok(DescriptorBuilder::default()
            .media_type(self.media_type.clone())
            .digest(self.sha256.parse::<Sha256Digest>()?)
            .size(self.bytes.len() as u64)
            .build()?)
    }
}

impl About<'_> {
    fn labels(&self) -> HashMap<String, String> {
        let all = [
            (ANNOTATION_TITLE, Some(self.title)),
            (ANNOTATION_VERSION, Some(self.version)),
            (ANNOTATION_DESCRIPTION, self.description),
            (ANNOTATION_LICENSES, self.licences),
            (ANNOTATION_SOURCE, self.source),
        ];
        let known =
            all.into_iter().filter_map(|(key, value)| Some((key, value.filter(|text| !text.is_empty())?)));
        known.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

/// The SHA-256 of bytes, in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// JSON without white space and with members in the order of their names, in whatever order they come.
///
/// # Errors
/// If the value has maps with keys other than text.
pub fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    fn sorted(value: Value) -> Value {
        match value {
            Value::Object(members) => {
                let members: BTreeMap<_, _> = members.into_iter().collect();
                Value::Object(members.into_iter().map(|(name, value)| (name, sorted(value))).collect())
            }
            Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
            other => other,
        }
    }
    let value = serde_json::to_value(value).context("write JSON")?;
    Ok(sorted(value).to_string().into_bytes())
}

/// The manifest for one platform, and its configuration and only layer.
fn manifest(
    architecture: &Arch,
    files: &[File<'_>],
    config: Config,
    annotations: HashMap<String, String>,
) -> Result<(Blob, Vec<Blob>)> {
    let tar = pack(files).context("pack the files")?;
    let diff = vec![format!("sha256:{}", sha256(&tar))];
    let config = ImageConfigurationBuilder::default()
        .architecture(architecture.clone())
        .os(Os::Linux)
        .config(config)
        .rootfs(RootFsBuilder::default().typ("layers").diff_ids(diff).build()?)
        .build()?;
    let config = Blob::of_json(MediaType::ImageConfig, &config)?;
    let layer = Blob::new(MediaType::ImageLayerGzip, compress(&tar).context("compress the files")?);
    let manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(config.descriptor()?)
        .layers(vec![layer.descriptor()?])
        .annotations(annotations)
        .build()?;
    Ok((Blob::of_json(MediaType::ImageManifest, &manifest)?, vec![config, layer]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Read as _;

    use serde_json::json;

    use super::*;

    const ABOUT: About<'static> = About {
        title: "title",
        version: "1.2.3",
        description: Some("what for"),
        licences: Some("Apache-2.0"),
        source: None,
    };

    /// SHA-256 by another implementation than the one under test.
    fn digest(bytes: &[u8]) -> String {
        use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;

        let hash = TLS13_AES_128_GCM_SHA256.tls13().unwrap().common.hash_provider.hash(bytes);
        let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }

    fn value(blob: &Blob) -> Value {
        serde_json::from_slice(&blob.bytes).unwrap()
    }

    fn unzipped(layer: &Blob) -> Vec<u8> {
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&layer.bytes[..]).read_to_end(&mut tar).unwrap();
        tar
    }

    fn native() -> Image {
        let files = |library| {
            vec![
                File { path: "lib.so", executable: true, bytes: library },
                File { path: "bin/cp", executable: true, bytes: b"program" },
            ]
        };
        Image::of_platforms(&[("amd64", files(b"x86")), ("arm64", files(b"arm"))], "cp", &ABOUT).unwrap()
    }

    #[test]
    fn every_digest_and_size_of_a_modules_image_is_that_of_the_bytes_it_names() {
        let module = b"\0asm\x01\0\0\0 and more".repeat(1000);
        let image = Image::of_module(&module, &ABOUT).unwrap();
        let [config, layer] = &image.blobs[..] else { panic!("a configuration and a layer") };
        for blob in [&image.root, config, layer] {
            assert_eq!(blob.digest(), digest(&blob.bytes));
        }
        let descriptor = |media_type: &str, blob: &Blob| json!({"mediaType": media_type, "digest": digest(&blob.bytes), "size": blob.bytes.len()});
        let labels = json!({
            "org.opencontainers.image.title": "title",
            "org.opencontainers.image.version": "1.2.3",
            "org.opencontainers.image.description": "what for",
            "org.opencontainers.image.licenses": "Apache-2.0",
        });
        let mut annotations = labels.clone();
        annotations["module.wasm.image/variant"] = json!("compat");
        assert_eq!(
            value(&image.root),
            json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": descriptor("application/vnd.oci.image.config.v1+json", config),
                "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
                "annotations": annotations,
            })
        );
        let tar = unzipped(layer);
        assert_eq!(
            value(config),
            json!({
                "architecture": "amd64",
                "os": "linux",
                "config": {"Labels": labels},
                "rootfs": {"type": "layers", "diff_ids": [digest(&tar)]},
            })
        );
        // The archive read by hand: a header, the module, zeros up to the next 512, and two blocks of zeros.
        assert_eq!(tar[..12], *b"plugin.wasm\0");
        assert_eq!(tar[512..512 + module.len()], module);
        assert!(tar[512 + module.len()..].iter().all(|&byte| byte == 0));
        assert_eq!(tar.len(), 512 + module.len().next_multiple_of(512) + 1024);
    }

    #[test]
    fn an_index_names_a_manifest_of_one_layer_for_each_platform() {
        let image = native();
        let index = value(&image.root);
        assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
        assert_eq!(image.root.media_type, MediaType::ImageIndex);
        let names: Vec<_> = image.platforms.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["linux/amd64", "linux/arm64"]);
        for (number, (architecture, library)) in [("amd64", "x86"), ("arm64", "arm")].into_iter().enumerate()
        {
            let manifest = &image.platforms[number].1;
            let [config, layer] = &image.blobs[2 * number..2 * number + 2] else { panic!("two") };
            assert_eq!(
                index["manifests"][number],
                json!({
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": digest(&manifest.bytes),
                    "size": manifest.bytes.len(),
                    "platform": {"architecture": architecture, "os": "linux"},
                })
            );
            assert_eq!(value(manifest)["config"]["digest"], config.digest());
            assert_eq!(value(manifest)["layers"].as_array().unwrap().len(), 1);
            assert_eq!(value(manifest)["layers"][0]["digest"], layer.digest());
            let config = value(config);
            assert_eq!(config["architecture"], architecture);
            assert_eq!(config["config"]["Entrypoint"], json!(["/bin/cp"]));
            assert_eq!(config["config"]["Env"], json!(["PATH=/bin"]));
            assert_eq!(config["config"]["User"], "65532:65532");

            let tar = unzipped(layer);
            let mut archive = tar::Archive::new(&tar[..]);
            let entries: Vec<_> = archive
                .entries()
                .unwrap()
                .map(|entry| {
                    let mut entry = entry.unwrap();
                    let path = entry.path().unwrap().display().to_string();
                    let mut text = String::new();
                    entry.read_to_string(&mut text).unwrap();
                    (path, entry.header().mode().unwrap(), text)
                })
                .collect();
            let entry = |path: &str, text: &str| (path.to_owned(), 0o755, text.to_owned());
            assert_eq!(entries, [entry("bin/", ""), entry("bin/cp", "program"), entry("lib.so", library)]);
        }
    }

    #[test]
    fn the_bytes_say_nothing_of_when_and_where_they_were_made() {
        let image = Image::of_module(b"module", &ABOUT).unwrap();
        let layer = &image.blobs[1];
        // Modification time (RFC 1952, 2.3): none; the highest compression; an unknown operating system.
        assert_eq!(layer.bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
        let tar = unzipped(layer);
        // Mode, user, group, size, time (POSIX ustar).
        let header = [&tar[100..108], &tar[108..116], &tar[116..124], &tar[124..136], &tar[136..148]];
        let expected: [&[u8]; 5] =
            [b"0000644\0", b"0000000\0", b"0000000\0", b"00000000006\0", b"00000000000\0"];
        assert_eq!(header, expected);
        // Names of user and group.
        assert!(tar[265..329].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn the_same_content_has_the_same_digest_and_any_other_content_another() {
        let digest = |module: &[u8], about| Image::of_module(module, about).unwrap().digest();
        assert_eq!(digest(b"one", &ABOUT), digest(b"one", &ABOUT));
        assert_ne!(digest(b"one", &ABOUT), digest(b"two", &ABOUT));
        assert_ne!(digest(b"one", &ABOUT), digest(b"one", &About { version: "1.2.4", ..ABOUT }));
        // Hash maps are in another order each time.
        let all: BTreeSet<String> = (0..32).map(|_| native().digest()).collect();
        assert_eq!(all.len(), 1);
    }
}
