//! An OCI registry over TLS, as much of it as a client pulls from (OCI distribution specification 1.1).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use rustls::ServerConfig;
use serde_json::json;
use tokio::runtime::Handle;

use crate::https::{Answers, Https, answer};
use crate::image::{Image, MANIFEST};

/// A registry. It ends when dropped, and its port is free then.
///
/// `GET` and `HEAD` of `/v2/`, `/v2/REPOSITORY/manifests/TAG-OR-DIGEST` and `/v2/REPOSITORY/blobs/DIGEST`, without
/// authentication. Repositories may contain slashes.
pub struct Registry {
    images: Arc<Images>,
    server: Https,
}

impl Registry {
    /// Serves on an address, port 0 for any free one, with a certificate such as [`crate::authority::Authority::server`]
    /// has for the registry's name. A gateway may have the same port on all addresses.
    ///
    /// # Errors
    /// If it cannot listen there.
    pub fn start(runtime: &Handle, address: SocketAddr, tls: Arc<ServerConfig>) -> Result<Self> {
        let images = Arc::new(Images::default());
        let server = Https::start(runtime, address, tls, Arc::clone(&images) as Arc<dyn Answers>)?;
        Ok(Self { images, server })
    }

    /// Makes an image of a wasm module ([`Image::of_module`]) and lets a tag name it. An image that the tag named
    /// before is still there by its digest, and by other tags.
    ///
    /// Returns the manifest's digest as `sha256` of a `WasmPlugin` has it: hexadecimal, without a prefix.
    ///
    /// # Errors
    /// As [`Image::of_module`].
    pub fn push(&self, repository: &str, tag: &str, module: &[u8]) -> Result<String> {
        let image = Image::of_module(module)?;
        let mut repositories = self.images.0.write().unwrap_or_else(PoisonError::into_inner);
        let repository = repositories.entry(repository.to_owned()).or_default();
        repository.tags.insert(tag.to_owned(), image.manifest.digest());
        for blob in [image.config, image.layer] {
            repository.blobs.insert(blob.digest(), blob.bytes);
        }
        repository.manifests.insert(image.manifest.digest(), image.manifest.bytes);
        Ok(image.manifest.sha256)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// `METHOD /path` of each request so far, in the order they came. A request is here before it is answered.
    pub fn requests(&self) -> Vec<String> {
        self.server.requests()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.server.forget();
    }

    /// While it is down, open connections are closed, and new ones as soon as they are there.
    pub fn set_down(&self, down: bool) {
        self.server.set_down(down);
    }
}

/// By repository.
#[derive(Default)]
struct Images(RwLock<HashMap<String, Repository>>);

#[derive(Default)]
struct Repository {
    /// Digests of manifests.
    tags: HashMap<String, String>,
    /// By digest.
    manifests: HashMap<String, Bytes>,
    blobs: HashMap<String, Bytes>,
}

impl Answers for Images {
    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        if ["/v2", "/v2/"].contains(&path) {
            return answer(StatusCode::OK, "application/json", "{}");
        }
        let rest = path.strip_prefix("/v2/").unwrap_or_default();
        let repositories = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // A name may have these words in it; the last ones count.
        if let Some((name, reference)) = rest.rsplit_once("/manifests/") {
            repositories.get(name).map_or_else(
                || name_unknown(name),
                |repository| {
                    let digest = repository.tags.get(reference).map_or(reference, String::as_str);
                    let manifest = repository.manifests.get(digest);
                    manifest.map_or_else(
                        || refused("MANIFEST_UNKNOWN", &format!("{name} has no manifest {reference}")),
                        |manifest| content(MANIFEST, digest, manifest),
                    )
                },
            )
        } else if let Some((name, digest)) = rest.rsplit_once("/blobs/") {
            repositories.get(name).map_or_else(
                || name_unknown(name),
                |repository| {
                    repository.blobs.get(digest).map_or_else(
                        || refused("BLOB_UNKNOWN", &format!("{name} has no blob {digest}")),
                        |blob| content("application/octet-stream", digest, blob),
                    )
                },
            )
        } else {
            refused("UNSUPPORTED", &format!("{path} is not served here"))
        }
    }

    fn not_allowed(&self) -> Response<Full<Bytes>> {
        error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this registry is read-only")
    }
}

fn content(media_type: &str, digest: &str, bytes: &Bytes) -> Response<Full<Bytes>> {
    let mut response = answer(StatusCode::OK, media_type, bytes.clone());
    if let Ok(digest) = HeaderValue::from_str(digest) {
        response.headers_mut().insert("docker-content-digest", digest);
    }
    response
}

fn name_unknown(name: &str) -> Response<Full<Bytes>> {
    refused("NAME_UNKNOWN", &format!("repository {name} has no images"))
}

fn refused(code: &str, message: &str) -> Response<Full<Bytes>> {
    error(StatusCode::NOT_FOUND, code, message)
}

/// The specification's form of an error ("Error Codes").
fn error(status: StatusCode, code: &str, message: &str) -> Response<Full<Bytes>> {
    let body = json!({ "errors": [{ "code": code, "message": message }] });
    answer(status, "application/json", body.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use tokio::runtime::Runtime;

    use super::*;
    use crate::authority::Authority;
    use crate::https::client;

    const NAME: &str = "registry.example";

    struct Site {
        registry: Registry,
        authority: Authority,
        _runtime: Runtime,
    }

    impl Site {
        fn start() -> Self {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let authority = Authority::new().unwrap();
            let tls = authority.server(&[NAME]).unwrap();
            let registry = Registry::start(runtime.handle(), ([127, 0, 0, 1], 0).into(), tls).unwrap();
            Self { registry, authority, _runtime: runtime }
        }

        fn ask(&self, target: &str) -> Result<client::Answer> {
            let mut connection = client::connect(self.registry.address(), NAME, self.authority.pem())?;
            client::send(&mut connection, NAME, target)
        }

        /// The module of an image, pulled as a client does, with every digest checked by the answer's header.
        fn pull(&self, repository: &str, reference: &str) -> Vec<u8> {
            let get = |path: &str| {
                let answer = self.ask(&format!("GET /v2/{repository}/{path}")).unwrap();
                assert_eq!(answer.status, 200, "{path}");
                assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
                answer
            };
            let manifest = get(&format!("manifests/{reference}"));
            assert_eq!(manifest.header("content-type"), Some("application/vnd.oci.image.manifest.v1+json"));
            let manifest = manifest.json();
            let digest = |of: &serde_json::Value| of["digest"].as_str().unwrap().to_owned();
            let config = get(&format!("blobs/{}", digest(&manifest["config"])));
            assert_eq!(config.json()["rootfs"]["type"], "layers");
            let layer = get(&format!("blobs/{}", digest(&manifest["layers"][0])));
            assert_eq!(layer.header("docker-content-digest"), manifest["layers"][0]["digest"].as_str());
            let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&layer.body[..]));
            let mut entries = archive.entries().unwrap();
            let mut file = entries.next().unwrap().unwrap();
            assert_eq!(file.path().unwrap().to_str(), Some("plugin.wasm"));
            let mut module = Vec::new();
            file.read_to_end(&mut module).unwrap();
            assert!(entries.next().is_none());
            module
        }
    }

    #[test]
    fn an_image_is_pulled_by_its_tag_and_by_its_digest() {
        let site = Site::start();
        let digest = site.registry.push("filters/claim-headers", "0.1.0", b"module").unwrap();
        assert_eq!(site.ask("GET /v2/").unwrap().body, b"{}");
        assert_eq!(site.pull("filters/claim-headers", "0.1.0"), b"module");
        assert_eq!(site.pull("filters/claim-headers", &format!("sha256:{digest}")), b"module");
        let requests = site.registry.requests();
        assert_eq!(requests[..2], ["GET /v2/", "GET /v2/filters/claim-headers/manifests/0.1.0"]);
        assert_eq!(requests.len(), 7);
        assert_eq!(requests[4], format!("GET /v2/filters/claim-headers/manifests/sha256:{digest}"));
    }

    #[test]
    fn head_says_what_get_would_without_a_body() {
        let site = Site::start();
        let digest = site.registry.push("a", "1", b"module").unwrap();
        for path in
            ["/v2/".to_owned(), "/v2/a/manifests/1".to_owned(), format!("/v2/a/manifests/sha256:{digest}")]
        {
            let (head, get) =
                (site.ask(&format!("HEAD {path}")).unwrap(), site.ask(&format!("GET {path}")).unwrap());
            assert_eq!((head.status, get.status), (200, 200), "{path}");
            assert!(head.body.is_empty(), "{path}");
            for name in ["content-length", "content-type", "docker-content-digest"] {
                assert_eq!(head.header(name), get.header(name), "{path} {name}");
            }
            assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()), "{path}");
        }
        let manifest = site.ask("HEAD /v2/a/manifests/1").unwrap();
        assert_eq!(manifest.header("docker-content-digest"), Some(format!("sha256:{digest}").as_str()));
    }

    #[test]
    fn what_was_never_pushed_is_refused_in_the_form_of_the_specification() {
        let site = Site::start();
        let other = site.registry.push("other", "1", b"other").unwrap();
        site.registry.push("a", "1", b"module").unwrap();
        let refused = |target: &str, status: u16, code: &str| {
            let answer = site.ask(target).unwrap();
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (status, Some("application/json")),
                "{target}"
            );
            assert_eq!(answer.json()["errors"][0]["code"], code, "{target}");
            assert!(answer.json()["errors"][0]["message"].is_string(), "{target}");
        };
        refused("GET /v2/a/manifests/2", 404, "MANIFEST_UNKNOWN");
        // Digests belong to a repository, and a manifest is not a blob.
        refused(&format!("GET /v2/a/manifests/sha256:{other}"), 404, "MANIFEST_UNKNOWN");
        refused(&format!("GET /v2/other/blobs/sha256:{other}"), 404, "BLOB_UNKNOWN");
        refused(&format!("GET /v2/a/blobs/sha256:{}", "0".repeat(64)), 404, "BLOB_UNKNOWN");
        refused("GET /v2/b/manifests/1", 404, "NAME_UNKNOWN");
        refused("GET /v2/b/blobs/x", 404, "NAME_UNKNOWN");
        refused("GET /", 404, "UNSUPPORTED");
        refused("GET /v3/a/manifests/1", 404, "UNSUPPORTED");
        refused("DELETE /v2/a/manifests/1", 405, "UNSUPPORTED");
        assert_eq!(site.ask("HEAD /v2/a/manifests/2").unwrap().status, 404);
    }

    #[test]
    fn a_tag_names_what_was_pushed_last_and_digests_keep_what_was_before() {
        let site = Site::start();
        let push = |repository, tag, module: &[u8]| site.registry.push(repository, tag, module).unwrap();
        let old = push("a", "latest", b"old");
        let new = push("a", "latest", b"new");
        assert_eq!(push("a", "1", b"old"), old);
        assert_eq!(push("manifests/b", "1", b"old"), old);
        assert_ne!(old, new);
        assert_eq!(site.pull("a", "latest"), b"new");
        assert_eq!(site.pull("a", "1"), b"old");
        assert_eq!(site.pull("a", &format!("sha256:{old}")), b"old");
        assert_eq!(site.pull("manifests/b", "1"), b"old");
    }

    #[test]
    fn a_registry_that_was_down_has_its_images_afterwards() {
        let site = Site::start();
        site.registry.push("a", "1", b"module").unwrap();
        site.registry.set_down(true);
        assert!(site.ask("GET /v2/").is_err());
        site.registry.set_down(false);
        assert_eq!(site.pull("a", "1"), b"module");
        assert_eq!(site.registry.requests().len(), 3);
    }
}
