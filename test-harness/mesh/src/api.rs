//! The API server's client, as `kubectl` would use it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use istio_lint::Resource;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::Scope;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::Handle;

/// The name under which fields are applied.
const MANAGER: &str = "mesh";
/// How often a resource is looked at while something is awaited of it.
const POLL: Duration = Duration::from_millis(100);

/// Which resources: an API version and a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind<'a>(pub &'a str, pub &'a str);

/// A connection to an API server. Calls block.
pub struct Cluster {
    client: Client,
    handle: Handle,
    /// Kinds by API version and kind, once the server has been asked about them.
    kinds: Mutex<HashMap<(String, String), (ApiResource, Scope)>>,
}

impl Cluster {
    /// A client of the API server at `url`, with a bearer token. The server's certificate is one of its own making,
    /// and is not checked.
    ///
    /// # Errors
    /// If `url` is not a URL.
    pub fn new(handle: &Handle, url: &str, token: &str) -> Result<Self> {
        let mut config = Config::new(url.parse().with_context(|| format!("{url} is not a URL"))?);
        config.accept_invalid_certs = true;
        config.auth_info.token = Some(token.to_owned().into());
        config.read_timeout = Some(Duration::from_secs(60));
        let _inside = handle.enter();
        let client = Client::try_from(config).context("make the API server's client")?;
        Ok(Self { client, handle: handle.clone(), kinds: Mutex::default() })
    }

    /// Whether the API server says that it is ready.
    pub fn ready(&self) -> bool {
        let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else { return false };
        self.handle.block_on(self.client.request_text(request)).is_ok_and(|text| text == "ok")
    }

    /// Applies a resource as `kubectl apply --server-side --force-conflicts --validate=strict` does.
    ///
    /// # Errors
    /// Whatever the API server has against it.
    pub fn apply(&self, resource: &Resource) -> Result<()> {
        self.apply_value(&resource.value)
    }

    /// [`apply`](Self::apply) of a resource as JSON.
    ///
    /// # Errors
    /// Whatever the API server has against it.
    pub fn apply_value(&self, value: &Value) -> Result<()> {
        let text = |pointer| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (Kind(text("/apiVersion"), text("/kind")), text("/metadata/name"));
        let api = self.api(kind, text("/metadata/namespace"))?;
        let params = PatchParams::apply(MANAGER).force().validation_strict();
        let patched = self.handle.block_on(api.patch(name, &params, &Patch::Apply(value)));
        patched.map(drop).with_context(|| format!("apply {} {}/{name}", kind.1, text("/metadata/namespace")))
    }

    /// Merges into a resource's status, as a kubelet or a cloud's controller does.
    ///
    /// # Errors
    /// Whatever the API server has against it.
    pub fn set_status(&self, kind: Kind<'_>, namespace: &str, name: &str, status: Value) -> Result<()> {
        let api = self.api(kind, namespace)?;
        let patch = Patch::Merge(json!({"status": status}));
        let patched = self.handle.block_on(api.patch_status(name, &PatchParams::default(), &patch));
        patched.map(drop).with_context(|| format!("set the status of {} {namespace}/{name}", kind.1))
    }

    /// A resource, if it is there.
    ///
    /// # Errors
    /// If the API server does not answer or does not know the kind.
    pub fn get(&self, kind: Kind<'_>, namespace: &str, name: &str) -> Result<Option<Value>> {
        let api = self.api(kind, namespace)?;
        let found = self.handle.block_on(api.get_opt(name));
        let found = found.with_context(|| format!("get {} {namespace}/{name}", kind.1))?;
        found.map(|object| serde_json::to_value(object).context("read a resource")).transpose()
    }

    /// Resources of a kind, in one namespace or, if it is empty, in all.
    ///
    /// # Errors
    /// If the API server does not answer or does not know the kind.
    pub fn list(&self, kind: Kind<'_>, namespace: &str) -> Result<Vec<Value>> {
        let api = self.api_in_any(kind, namespace)?;
        let found = self.handle.block_on(api.list(&ListParams::default()));
        let found = found.with_context(|| format!("list {} in {namespace:?}", kind.1))?;
        found
            .items
            .into_iter()
            .map(|object| serde_json::to_value(object).context("read a resource"))
            .collect()
    }

    /// Deletes a resource and does not wait until it is gone. It may be gone already.
    ///
    /// # Errors
    /// If the API server does not answer or does not know the kind.
    pub fn delete(&self, kind: Kind<'_>, namespace: &str, name: &str) -> Result<()> {
        let api = self.api(kind, namespace)?;
        match self.handle.block_on(api.delete(name, &at_once())) {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => deleted.map(drop).with_context(|| format!("delete {} {namespace}/{name}", kind.1)),
        }
    }

    /// Deletes all resources of a kind in a namespace.
    ///
    /// # Errors
    /// If the API server does not answer or does not know the kind.
    pub fn delete_all(&self, kind: Kind<'_>, namespace: &str) -> Result<()> {
        let api = self.api(kind, namespace)?;
        let deleted = self.handle.block_on(api.delete_collection(&at_once(), &ListParams::default()));
        deleted.map(drop).with_context(|| format!("delete every {} in {namespace}", kind.1))
    }

    /// A token of a service account, as a kubelet asks for it.
    ///
    /// # Errors
    /// If there is no such account.
    pub fn token(&self, namespace: &str, account: &str, audience: &str) -> Result<String> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let spec =
            TokenRequestSpec { audiences: Some(vec![audience.to_owned()]), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let made = self.handle.block_on(api.create_token_request(account, &PostParams::default(), &request));
        let made = made.with_context(|| format!("a token of the service account {namespace}/{account}"))?;
        made.status.and_then(|status| status.token).ok_or_else(|| anyhow!("a token request without a token"))
    }

    /// Looks at a resource until `wanted` has a value for it.
    ///
    /// # Errors
    /// If it has none within `bound`; the resource is shown as it was last.
    pub fn wait<T>(
        &self,
        kind: Kind<'_>,
        namespace: &str,
        name: &str,
        bound: Duration,
        mut wanted: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + bound;
        loop {
            let found = self.get(kind, namespace, name)?;
            if let Some(value) = found.as_ref().and_then(&mut wanted) {
                return Ok(value);
            }
            if Instant::now() > deadline {
                let last =
                    found.map_or_else(|| "it is not there".to_owned(), |last| last["status"].to_string());
                bail!(
                    "{} {namespace}/{name} did not reach the expected state within {bound:?}: {last}",
                    kind.1
                );
            }
            thread::sleep(POLL);
        }
    }

    fn api(&self, kind: Kind<'_>, namespace: &str) -> Result<Api<DynamicObject>> {
        let (resource, scope) = self.kind(kind)?;
        Ok(match scope {
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), namespace, &resource),
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
        })
    }

    fn api_in_any(&self, kind: Kind<'_>, namespace: &str) -> Result<Api<DynamicObject>> {
        if namespace.is_empty() {
            return Ok(Api::all_with(self.client.clone(), &self.kind(kind)?.0));
        }
        self.api(kind, namespace)
    }

    /// What the API server calls a kind in its paths, and whether it is in namespaces.
    fn kind(&self, kind: Kind<'_>) -> Result<(ApiResource, Scope)> {
        let key = (kind.0.to_owned(), kind.1.to_owned());
        let mut kinds = self.kinds.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = kinds.get(&key) {
            return Ok(known.clone());
        }
        let (group, version) = kind.0.split_once('/').unwrap_or(("", kind.0));
        let gvk = GroupVersionKind::gvk(group, version, kind.1);
        let found = self.handle.block_on(kube::discovery::pinned_kind(&self.client, &gvk));
        let (resource, capabilities) =
            found.with_context(|| format!("the API server does not know {} of {}", kind.1, kind.0))?;
        kinds.insert(key, (resource.clone(), capabilities.scope.clone()));
        Ok((resource, capabilities.scope))
    }
}

/// No kubelet is there to observe a pod's grace period.
fn at_once() -> DeleteParams {
    DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }
}
