//! Policies on paths, where the transcoder also takes paths behind a prefix.

use super::Overlay;
use crate::resource::{Resource, items};
use crate::{Problem, embedded};

use serde_json::Value;

/// Paths that the transcoder serves, one for each row.
const SERVED: [&str; 26] = [
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models",
    "/v2/models/stats",
    "/v2/models/m",
    "/v2/models/m/ready",
    "/v2/models/m/infer",
    "/v2/models/m/config",
    "/v2/models/m/stats",
    "/v2/models/m/trace/setting",
    "/v2/models/m/versions/1",
    "/v2/models/m/versions/1/ready",
    "/v2/models/m/versions/1/infer",
    "/v2/repository/index",
    "/v2/repository/r/index",
    "/v2/repository/models/m/load",
    "/v2/repository/models/m/unload",
    "/v2/repository/r/models/m/load",
    "/v2/repository/r/models/m/unload",
    "/v2/trace/setting",
    "/v2/logging",
    "/v2/systemsharedmemory/status",
    "/v2/systemsharedmemory/region/r/register",
    "/v2/cudasharedmemory/unregister",
    "/v2/cudasharedmemory/region/r/unregister",
];

/// A caller who may not call `/v2/...` may not call it behind one of the transcoder's `path_prefixes` either.
pub(super) fn check(overlay: &Overlay<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let policies = overlay.of_kind("AuthorizationPolicy").iter().filter(|policy| is_denial(policy));
    let denials: Vec<_> = policies.map(|policy| (policy, denied(policy))).collect();
    let transcoders = overlay.resources.iter().map(|resource| (resource, prefixes(resource)));
    let transcoders: Vec<_> = transcoders.filter(|(_, prefixes)| !prefixes.is_empty()).collect();
    for ((transcoder, prefixes), (policy, denied)) in
        transcoders.iter().flat_map(|t| denials.iter().map(move |d| (t, d)))
    {
        for (path, prefix) in prefixes.iter().flat_map(|p| denied.iter().map(move |d| (d, p))) {
            let behind = format!("{prefix}{path}");
            if !denies(policy, &behind) {
                let reason = format!(
                    "denies {path}, but not {behind}, which the transcoder of {} also serves: add a path that begins \
                     with * and names the end, or one with the prefix",
                    transcoder.name()
                );
                problems.push(Problem::new(policy, reason));
            }
        }
    }
    problems
}

/// The paths of the transcoder that a policy denies: those of its rows, and for a pattern about one model, say, a path
/// that it is about.
fn denied(policy: &Resource) -> Vec<String> {
    let served = |pattern: &str| SERVED.iter().any(|path| matches(pattern, path));
    let mut denied: Vec<String> =
        SERVED.iter().filter(|path| denies(policy, path)).map(|path| (*path).to_owned()).collect();
    denied.extend(paths(policy).filter(|path| path.starts_with("/v2") && !served(path)).map(example));
    denied
}

/// Whether a DENY policy has a rule for requests with this path. The rule's other conditions are not looked at.
#[must_use]
pub fn denies(policy: &Resource, path: &str) -> bool {
    is_denial(policy) && paths(policy).any(|pattern| matches(pattern, path))
}

fn is_denial(policy: &Resource) -> bool {
    policy.kind() == "AuthorizationPolicy" && policy.text("/spec/action") == "DENY"
}

fn paths(policy: &Resource) -> impl Iterator<Item = &str> {
    let operations = policy.list("/spec/rules").iter().flat_map(|rule| items(rule, "/to"));
    operations.flat_map(|to| items(to, "/operation/paths")).filter_map(Value::as_str)
}

/// A path for each prefix that a transcoder's configuration has, with a word in place of each variable part.
fn prefixes(resource: &Resource) -> Vec<String> {
    let configurations = embedded::configurations(resource).unwrap_or_default();
    let transcoders = configurations.iter().filter(|found| found.filter == "kserve-transcoder");
    let parsed = transcoders.filter_map(|found| serde_json::from_str::<Value>(&found.json).ok());
    let texts = |config: Value| -> Vec<String> {
        items(&config, "/path_prefixes").iter().filter_map(Value::as_str).map(example).collect()
    };
    parsed.flat_map(texts).collect()
}

/// A path that a pattern, or a prefix with variable parts, is about.
fn example(pattern: &str) -> String {
    let word = |segment: &str| match segment.starts_with('{') {
        true => "word".to_owned(),
        false => segment.replace('*', "word"),
    };
    pattern.split('/').map(word).collect::<Vec<_>>().join("/")
}

/// How Istio compares a path with a policy's: as it is, by its beginning or its end, or segment by segment.
fn matches(pattern: &str, path: &str) -> bool {
    if pattern.contains("{*}") || pattern.contains("{**}") {
        return by_segments(pattern, path);
    }
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(""), _) => !path.is_empty(),
        (Some(end), _) => path.ends_with(end),
        (None, Some(start)) => path.starts_with(start),
        (None, None) => path == pattern,
    }
}

fn by_segments(pattern: &str, path: &str) -> bool {
    let mut found = path.split('/');
    for segment in pattern.split('/') {
        let fits = match (segment, found.next()) {
            // It stands last.
            ("{**}", rest) => return rest.is_some(),
            ("{*}", Some(found)) => !found.is_empty(),
            (literal, found) => found == Some(literal),
        };
        if !fits {
            return false;
        }
    }
    found.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_as_istio_does() {
        for (pattern, path, expected) in [
            ("/v2/logging", "/v2/logging", true),
            ("/v2/logging", "/a/v2/logging", false),
            ("*/v2/logging", "/a/v2/logging", true),
            ("/v2/repository/*", "/v2/repository/index", true),
            ("/v2/repository/*", "/a/v2/repository/index", false),
            ("*", "/any", true),
            ("/serving/{*}/{*}/v2/{**}", "/serving/ns/isvc/v2/repository/index", true),
            ("/serving/{*}/v2", "/serving/a/b/v2", false),
            ("/serving/{*}/v2", "/serving//v2", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }
}
