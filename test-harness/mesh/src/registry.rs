//! An OCI registry over TLS, as much of it as a client pushes to and pulls from (OCI distribution specification 1.1).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Result;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, LOCATION, RANGE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use images::Image;
use images::image::sha256;
use rustls::ServerConfig;
use serde_json::json;
use tokio::runtime::Handle;

use crate::https::{Answers, Https, answer};

/// A registry. It ends when dropped, and its port is free then.
///
/// Under `/v2/REPOSITORY/`, without authentication: `GET`, `HEAD` and `PUT` of `manifests/TAG-OR-DIGEST`, `GET` and
/// `HEAD` of `blobs/DIGEST`, and `POST`, `PATCH` and `PUT` of `blobs/uploads/`. Repositories may contain slashes.
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

    /// Takes an image in, and lets a tag name it. An image that the tag named before is still there by its digest, and
    /// by other tags. `images::push::push` does the same from outside.
    ///
    /// Returns the digest as `sha256` of a `WasmPlugin` has it: hexadecimal, without a prefix.
    pub fn add(&self, repository: &str, tag: &str, image: &Image) -> String {
        let mut repositories = self.images.0.write().unwrap_or_else(PoisonError::into_inner);
        let repository = repositories.entry(repository.to_owned()).or_default();
        repository.tags.insert(tag.to_owned(), image.digest());
        for blob in &image.blobs {
            repository.blobs.insert(blob.digest(), blob.bytes.clone());
        }
        for manifest in image.manifests() {
            let content = (manifest.media_type.to_string(), manifest.bytes.clone());
            repository.manifests.insert(manifest.digest(), content);
        }
        image.root.sha256.clone()
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
    /// Media types and bytes, by digest.
    manifests: HashMap<String, (String, Bytes)>,
    /// By digest.
    blobs: HashMap<String, Bytes>,
    /// What has come so far of blobs that are not complete, by the number that the registry gave each.
    uploads: HashMap<String, Vec<u8>>,
    /// The next such number.
    next: usize,
}

impl Answers for Images {
    fn answer(&self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if [Method::GET, Method::HEAD].contains(request.method()) {
            self.pulled(path)
        } else {
            self.pushed(request)
        }
    }
}

impl Images {
    fn pulled(&self, path: &str) -> Response<Full<Bytes>> {
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
                        |(media_type, manifest)| content(media_type, digest, manifest),
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

    fn pushed(&self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let (method, path) = (request.method(), request.uri().path());
        let rest = path.strip_prefix("/v2/").unwrap_or_default();
        let mut repositories = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((name, number)) = rest.rsplit_once("/blobs/uploads/") {
            let repository = repositories.entry(name.to_owned()).or_default();
            match *method {
                Method::POST => repository.begin(name),
                Method::PATCH => repository.go_on(name, number, request.body()),
                Method::PUT => repository.complete(name, number, request),
                _ => not_allowed(),
            }
        } else if let (&Method::PUT, Some((name, reference))) = (method, rest.rsplit_once("/manifests/")) {
            repositories.entry(name.to_owned()).or_default().manifest(name, reference, request)
        } else {
            not_allowed()
        }
    }
}

impl Repository {
    fn begin(&mut self, name: &str) -> Response<Full<Bytes>> {
        let number = self.next.to_string();
        self.next += 1;
        let location = upload(name, &number);
        self.uploads.insert(number, Vec::new());
        at(StatusCode::ACCEPTED, &location)
    }

    fn go_on(&mut self, name: &str, number: &str, chunk: &[u8]) -> Response<Full<Bytes>> {
        let Some(bytes) = self.uploads.get_mut(number) else { return upload_unknown(number) };
        bytes.extend_from_slice(chunk);
        let mut response = at(StatusCode::ACCEPTED, &upload(name, number));
        set(&mut response, RANGE, &format!("0-{}", bytes.len().saturating_sub(1)));
        response
    }

    fn complete(&mut self, name: &str, number: &str, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let Some(mut bytes) = self.uploads.remove(number) else { return upload_unknown(number) };
        bytes.extend_from_slice(request.body());
        let query = request.uri().query().unwrap_or_default().replace("%3A", ":").replace("%3a", ":");
        let digest = query.split('&').find_map(|pair| pair.strip_prefix("digest=")).unwrap_or_default();
        if digest != format!("sha256:{}", sha256(&bytes)) {
            return digest_invalid(digest);
        }
        self.blobs.insert(digest.to_owned(), bytes.into());
        at(StatusCode::CREATED, &format!("/v2/{name}/blobs/{digest}"))
    }

    fn manifest(&mut self, name: &str, reference: &str, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let digest = format!("sha256:{}", sha256(request.body()));
        if reference.contains(':') {
            if reference != digest {
                return digest_invalid(reference);
            }
        } else {
            self.tags.insert(reference.to_owned(), digest.clone());
        }
        let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or("application/octet-stream").to_owned();
        self.manifests.insert(digest.clone(), (media_type, request.body().clone()));
        let mut response = at(StatusCode::CREATED, &format!("/v2/{name}/manifests/{digest}"));
        set(&mut response, DIGEST, &digest);
        response
    }
}

/// The header with the digest of what is sent, which the specification has from Docker.
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

fn upload(name: &str, number: &str) -> String {
    format!("/v2/{name}/blobs/uploads/{number}")
}

fn at(status: StatusCode, location: &str) -> Response<Full<Bytes>> {
    let mut response = answer(status, "application/octet-stream", Bytes::new());
    set(&mut response, LOCATION, location);
    response
}

fn content(media_type: &str, digest: &str, bytes: &Bytes) -> Response<Full<Bytes>> {
    let mut response = answer(StatusCode::OK, media_type, bytes.clone());
    set(&mut response, DIGEST, digest);
    response
}

fn set(response: &mut Response<Full<Bytes>>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn name_unknown(name: &str) -> Response<Full<Bytes>> {
    refused("NAME_UNKNOWN", &format!("repository {name} has no images"))
}

fn upload_unknown(number: &str) -> Response<Full<Bytes>> {
    refused("BLOB_UPLOAD_UNKNOWN", &format!("there is no upload {number}"))
}

fn digest_invalid(digest: &str) -> Response<Full<Bytes>> {
    error(
        StatusCode::BAD_REQUEST,
        "DIGEST_INVALID",
        &format!("what was sent has another digest than {digest:?}"),
    )
}

fn not_allowed() -> Response<Full<Bytes>> {
    error(
        StatusCode::METHOD_NOT_ALLOWED,
        "UNSUPPORTED",
        "images are pulled and pushed here, and nothing else",
    )
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
    use images::push::{Access, push};
    use images::{About, File};

    use crate::authority::Authority;
    use crate::https::client;

    const NAME: &str = "registry.example";

    struct Site {
        registry: Registry,
        authority: Authority,
        runtime: Runtime,
    }

    impl Site {
        fn start() -> Self {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let authority = Authority::new().unwrap();
            let tls = authority.server(&[NAME, "127.0.0.1"]).unwrap();
            let registry = Registry::start(runtime.handle(), ([127, 0, 0, 1], 0).into(), tls).unwrap();
            Self { registry, authority, runtime }
        }

        /// Takes an image of a module in, past the network.
        fn add(&self, repository: &str, tag: &str, module: &[u8]) -> String {
            self.registry.add(repository, tag, &image(module))
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

    fn image(module: &[u8]) -> Image {
        Image::of_module(module, &About::default()).unwrap()
    }

    #[test]
    fn an_image_is_pulled_by_its_tag_and_by_its_digest() {
        let site = Site::start();
        let digest = site.add("filters/claim-headers", "0.1.0", b"module");
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
        let digest = site.add("a", "1", b"module");
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
        let other = site.add("other", "1", b"other");
        site.add("a", "1", b"module");
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
        let push = |repository, tag, module: &[u8]| site.add(repository, tag, module);
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
        site.add("a", "1", b"module");
        site.registry.set_down(true);
        assert!(site.ask("GET /v2/").is_err());
        site.registry.set_down(false);
        assert_eq!(site.pull("a", "1"), b"module");
        assert_eq!(site.registry.requests().len(), 3);
    }

    /// A client as of a machine that trusts the registry's authority.
    fn pusher(site: &Site) -> (images::push::Registry, Access) {
        let registry = format!("{}/team", site.registry.address()).parse().unwrap();
        (registry, Access { login: None, authorities: vec![site.authority.pem().to_owned()] })
    }

    #[test]
    fn a_module_that_was_pushed_is_pulled_under_the_digest_of_its_image() {
        let site = Site::start();
        let (registry, access) = pusher(&site);
        let image = image(&b"module".repeat(1000));
        let name = push(&registry, &access, "claim-headers", "0.1.0", &image).unwrap();
        let address = site.registry.address();
        assert_eq!(name, format!("{address}/team/claim-headers:0.1.0@{}", image.digest()));
        assert_eq!(site.pull("team/claim-headers", "0.1.0"), b"module".repeat(1000));
        assert_eq!(site.pull("team/claim-headers", &image.digest()), b"module".repeat(1000));
        // What is there is not sent again.
        site.registry.forget();
        push(&registry, &access, "claim-headers", "next", &image).unwrap();
        let sent: Vec<_> = site
            .registry
            .requests()
            .into_iter()
            .filter(|line| !["GET", "HEAD"].contains(&&line[..line.find(' ').unwrap()]))
            .collect();
        assert_eq!(sent, ["PUT /v2/team/claim-headers/manifests/next"]);
    }

    #[test]
    fn an_index_that_was_pushed_is_pulled_for_this_platform_by_a_client_of_registries() {
        use oci_client::client::{Certificate, CertificateEncoding, ClientConfig};
        use oci_client::secrets::RegistryAuth;
        use oci_client::{Client, Reference};

        let site = Site::start();
        let (registry, access) = pusher(&site);
        let files = |bytes| vec![File { path: "lib.so", executable: true, bytes }];
        let platforms = [("amd64", files(&b"x86"[..])), ("arm64", files(&b"arm"[..]))];
        let image = Image::of_platforms(&platforms, "cp", &About::default()).unwrap();
        push(&registry, &access, "filters", "1", &image).unwrap();

        let pem = site.authority.pem().as_bytes().to_vec();
        let config = ClientConfig {
            tls_certs_only: vec![Certificate { encoding: CertificateEncoding::Pem, data: pem }],
            ..ClientConfig::default()
        };
        let name = format!("{}/team/filters:1", site.registry.address());
        let name = Reference::try_from(name.as_str()).unwrap();
        let pulled = site.runtime.block_on(async {
            let accepted = vec!["application/vnd.oci.image.layer.v1.tar+gzip"];
            Client::try_from(config).unwrap().pull(&name, &RegistryAuth::Anonymous, accepted).await.unwrap()
        });
        let here = usize::from(std::env::consts::ARCH == "aarch64");
        assert_eq!(pulled.digest, Some(image.platforms[here].1.digest()));
        assert_eq!(pulled.layers.len(), 1);
        assert_eq!(pulled.layers[0].data, image.blobs[2 * here + 1].bytes);
        let index = site.ask("GET /v2/team/filters/manifests/1").unwrap();
        assert_eq!(index.header("content-type"), Some("application/vnd.oci.image.index.v1+json"));
        assert_eq!(index.header("docker-content-digest"), Some(image.digest().as_str()));
    }

    #[test]
    fn what_does_not_have_its_digest_is_refused() {
        let site = Site::start();
        assert_eq!(site.ask("POST /v2/a/blobs/uploads/").unwrap().status, 202);
        for (target, status, code) in [
            (format!("PUT /v2/a/blobs/uploads/0?digest=sha256:{}", "0".repeat(64)), 400, "DIGEST_INVALID"),
            ("PATCH /v2/a/blobs/uploads/7".to_owned(), 404, "BLOB_UPLOAD_UNKNOWN"),
            (format!("PUT /v2/a/manifests/sha256:{}", "0".repeat(64)), 400, "DIGEST_INVALID"),
        ] {
            let answer = site.ask(&target).unwrap();
            assert_eq!(
                (answer.status, &answer.json()["errors"][0]["code"]),
                (status, &code.into()),
                "{target}"
            );
        }
    }

    #[test]
    fn a_registry_that_cannot_be_reached_or_trusted_is_named() {
        let site = Site::start();
        let (registry, access) = pusher(&site);
        let why = |access: &Access| {
            format!("{:#}", push(&registry, access, "a", "1", &image(b"module")).unwrap_err())
        };
        let address = site.registry.address().to_string();
        let stranger = Authority::new().unwrap();
        let untrusted = why(&Access { login: None, authorities: vec![stranger.pem().to_owned()] });
        assert!(untrusted.contains(&address) && untrusted.contains("a:1"), "{untrusted}");
        site.registry.set_down(true);
        assert!(why(&access).contains(&address));
    }
}
