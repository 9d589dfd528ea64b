//! Images into registries (OCI distribution specification 1.1).

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};

use crate::image::Image;

/// How long to wait for a connection, and for each part of an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A registry, and the path that repositories have there: `registry.example/team`, or `http://127.0.0.1:5000` for one
/// without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// Host and port.
    host: String,
    /// In front of names of repositories; with a slash at its end, or empty.
    prefix: String,
    tls: bool,
}

impl FromStr for Registry {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (tls, rest) = match text.split_once("://") {
            None => (true, text),
            Some(("https" | "oci", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some((scheme, _)) => bail!("a registry's scheme is https or http, not {scheme:?}"),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        ensure!(!host.is_empty(), "{text:?} names no registry");
        let path = path.trim_end_matches('/');
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        Ok(Self { host: host.to_owned(), prefix, tls })
    }
}

/// Who pushes, and whom the registry's certificate may be from.
#[derive(Default)]
pub struct Access {
    /// User name and password or token.
    pub login: Option<(String, String)>,
    /// Certificates in PEM that are trusted in place of the system's.
    pub authorities: Vec<String>,
}

impl Access {
    /// As the variables `REGISTRY_USERNAME` and `REGISTRY_PASSWORD` say.
    ///
    /// # Errors
    /// If one of them is set without the other.
    pub fn from_environment() -> Result<Self> {
        let get = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let login = match (get("REGISTRY_USERNAME"), get("REGISTRY_PASSWORD")) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            _ => bail!("set REGISTRY_USERNAME and REGISTRY_PASSWORD, or neither"),
        };
        Ok(Self { login, authorities: Vec::new() })
    }
}

/// Pushes an image, and makes sure that the registry has it under its digest. What the registry has already is not sent
/// again. Manifests of single platforms get the tag and the architecture as theirs, such as `1.0-amd64`: registries
/// drop what has no tag.
///
/// Returns the name by which it can be pulled, with its digest.
///
/// # Errors
/// If the registry cannot be reached, refuses, or has another image under the tag afterwards.
pub fn push(registry: &Registry, access: &Access, name: &str, tag: &str, image: &Image) -> Result<String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    let pushed = runtime.block_on(push_image(registry, access, name, tag, image));
    pushed.with_context(|| format!("push {name}:{tag} to {}", registry.host))
}

async fn push_image(
    registry: &Registry,
    access: &Access,
    name: &str,
    tag: &str,
    image: &Image,
) -> Result<String> {
    // Another part of the process may have chosen one, which will do as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = client(registry, access)?;
    let auth = match &access.login {
        Some((user, password)) => RegistryAuth::Basic(user.clone(), password.clone()),
        None => RegistryAuth::Anonymous,
    };
    let repository = format!("{}{name}", registry.prefix);
    let reference = |tag: &str| {
        let text = format!("{}/{repository}:{tag}", registry.host);
        Reference::try_from(text.as_str()).with_context(|| format!("{text} is not the name of an image"))
    };
    let root = reference(tag)?;
    client.auth(&root, &auth, RegistryOperation::Push).await.context("log in")?;
    client.store_auth_if_needed(root.resolve_registry(), &auth).await;
    for blob in &image.blobs {
        let digest = blob.digest();
        if client.blob_exists(&root, &digest).await.with_context(|| format!("ask for {digest}"))? {
            continue;
        }
        let sent = client.push_blob(&root, blob.bytes.clone(), &digest).await;
        // Some registries take a blob and leave a header out of their answer. What counts is that they have it.
        if sent.is_err() && client.blob_exists(&root, &digest).await.unwrap_or(false) {
            continue;
        }
        sent.with_context(|| format!("send {digest}"))?;
    }
    for (platform, manifest) in &image.platforms {
        let architecture = platform.rsplit('/').next().unwrap_or(platform);
        send(&client, &reference(&format!("{tag}-{architecture}"))?, manifest).await?;
    }
    send(&client, &root, &image.root).await?;
    let there = client.fetch_manifest_digest(&root, &auth).await.context("ask for its digest")?;
    ensure!(there == image.digest(), "the registry has {there} under this tag, and not {}", image.digest());
    Ok(format!("{}/{repository}:{tag}@{there}", registry.host))
}

async fn send(client: &Client, reference: &Reference, manifest: &crate::image::Blob) -> Result<()> {
    let media_type = manifest.media_type.as_ref().parse().context("the media type of a manifest")?;
    let sent = client.push_manifest_raw(reference, manifest.bytes.clone(), media_type).await;
    sent.map(|_| ()).with_context(|| format!("send the manifest {}", manifest.digest()))
}

fn client(registry: &Registry, access: &Access) -> Result<Client> {
    let certificate =
        |pem: &String| Certificate { encoding: CertificateEncoding::Pem, data: pem.clone().into_bytes() };
    let config = ClientConfig {
        protocol: if registry.tls { ClientProtocol::Https } else { ClientProtocol::Http },
        tls_certs_only: access.authorities.iter().map(certificate).collect(),
        connect_timeout: Some(PATIENCE),
        read_timeout: Some(PATIENCE),
        ..ClientConfig::default()
    };
    Client::try_from(config).context("set up a client")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_may_have_a_path_and_may_be_without_tls() {
        let registry =
            |host: &str, prefix: &str, tls| Registry { host: host.into(), prefix: prefix.into(), tls };
        for (text, expected) in [
            ("registry.example", registry("registry.example", "", true)),
            ("https://registry.example/", registry("registry.example", "", true)),
            ("oci://registry.example:5000/a/b/", registry("registry.example:5000", "a/b/", true)),
            ("http://127.0.0.1:5000/a", registry("127.0.0.1:5000", "a/", false)),
        ] {
            assert_eq!(text.parse::<Registry>().unwrap(), expected, "{text}");
        }
        for text in ["", "ftp://registry.example", "https:///a"] {
            assert!(text.parse::<Registry>().is_err(), "{text}");
        }
    }
}
