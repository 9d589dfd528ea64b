//! A wasm module as an OCI image: the same bytes for the same module, on any machine at any time.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// What a manifest is served as (OCI image specification 1.1, `manifest.md`).
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// What a configuration is served as (`config.md`).
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// What a layer is served as (`layer.md`).
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The only file of the image, where Istio's agent looks for the module.
pub const MODULE: &str = "plugin.wasm";

/// An image of a single layer with a single file.
pub struct Image {
    /// Its manifest, whose digest is the image's.
    pub manifest: Blob,
    /// Its configuration.
    pub config: Blob,
    /// Its layer, compressed.
    pub layer: Blob,
}

/// Bytes that are named by their digest.
pub struct Blob {
    /// The SHA-256 of the bytes, in lower-case hexadecimal without a prefix.
    pub sha256: String,
    /// The bytes.
    pub bytes: Bytes,
}

impl Image {
    /// The image of a module, as `docker build` makes it of `FROM scratch` and `COPY`, but reproducibly.
    ///
    /// # Errors
    /// If the module is larger than a tar archive can say, 8 GiB.
    pub fn of_module(module: &[u8]) -> Result<Self> {
        let tar = archive(module).context("pack the module")?;
        // The platform is what container engines ask for; a module runs on any.
        let config = Blob::of_json(&json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex_sha256(&tar))] },
        }));
        let layer = Blob::new(compress(&tar).context("compress the module")?);
        let manifest = Blob::of_json(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(CONFIG),
            "layers": [layer.descriptor(LAYER)],
        }));
        Ok(Self { manifest, config, layer })
    }
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        Self { sha256: hex_sha256(&bytes), bytes: bytes.into() }
    }

    /// Members in the order of their names, without white space.
    fn of_json(value: &serde_json::Value) -> Self {
        Self::new(value.to_string().into_bytes())
    }

    /// Its digest as the specification writes it.
    pub fn digest(&self) -> String {
        format!("sha256:{}", self.sha256)
    }

    fn descriptor(&self, media_type: &str) -> serde_json::Value {
        json!({ "mediaType": media_type, "digest": self.digest(), "size": self.bytes.len() })
    }
}

fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// No time, no owner's name: nothing of the machine.
fn archive(module: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(module.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let mut builder = tar::Builder::new(Vec::with_capacity(module.len() + 2048));
    builder.append_data(&mut header, MODULE, module)?;
    builder.into_inner()
}

/// With no time and no file name in gzip's header.
fn compress(tar: &[u8]) -> std::io::Result<Vec<u8>> {
    use std::io::Write as _;

    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::fast());
    encoder.write_all(tar)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use serde_json::Value;

    use super::*;

    /// SHA-256 by another implementation than the one under test.
    fn digest(bytes: &[u8]) -> String {
        use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;

        let hash = TLS13_AES_128_GCM_SHA256.tls13().unwrap().common.hash_provider.hash(bytes);
        let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }

    #[test]
    fn every_digest_and_size_is_that_of_the_bytes_it_names() {
        let module = b"\0asm\x01\0\0\0 and more".repeat(1000);
        let image = Image::of_module(&module).unwrap();
        for blob in [&image.manifest, &image.config, &image.layer] {
            assert_eq!(blob.digest(), digest(&blob.bytes));
        }
        let manifest: Value = serde_json::from_slice(&image.manifest.bytes).unwrap();
        let descriptor = |media_type: &str, blob: &Blob| json!({"mediaType": media_type, "digest": digest(&blob.bytes), "size": blob.bytes.len()});
        assert_eq!(
            manifest,
            json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": descriptor("application/vnd.oci.image.config.v1+json", &image.config),
                "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &image.layer)],
            })
        );

        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&image.layer.bytes[..]).read_to_end(&mut tar).unwrap();
        let config: Value = serde_json::from_slice(&image.config.bytes).unwrap();
        assert_eq!(config["rootfs"], json!({"type": "layers", "diff_ids": [digest(&tar)]}));
        // The archive read by hand: a header, the module, zeros up to the next 512, and two blocks of zeros.
        assert_eq!(tar[..12], *b"plugin.wasm\0");
        assert_eq!(tar[512..512 + module.len()], module);
        assert!(tar[512 + module.len()..].iter().all(|&byte| byte == 0));
        assert_eq!(tar.len(), 512 + module.len().next_multiple_of(512) + 1024);
    }

    #[test]
    fn the_bytes_say_nothing_of_when_and_where_they_were_made() {
        let image = Image::of_module(b"module").unwrap();
        // Modification time and operating system (RFC 1952, 2.3): none, and 255 for unknown.
        assert_eq!(image.layer.bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255]);
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&image.layer.bytes[..]).read_to_end(&mut tar).unwrap();
        // Mode, user, group, size, time (POSIX ustar).
        let header = [&tar[100..108], &tar[108..116], &tar[116..124], &tar[124..136], &tar[136..148]];
        let expected: [&[u8]; 5] =
            [b"0000644\0", b"0000000\0", b"0000000\0", b"00000000006\0", b"00000000000\0"];
        assert_eq!(header, expected);
        // Names of user and group.
        assert!(tar[265..329].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn two_modules_have_two_digests_and_one_module_has_one() {
        let digest = |module: &[u8]| Image::of_module(module).unwrap().manifest.sha256;
        assert_eq!(digest(b"one"), digest(b"one"));
        assert_ne!(digest(b"one"), digest(b"two"));
        assert_eq!(digest(b"").len(), 64);
    }
}
