//! Findings as SARIF 2.1.0 (OASIS), which code scanners read.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Finding, Report, text};

/// The log of one run.
pub(super) fn log(report: &Report) -> Value {
    let mut rules: BTreeMap<&str, usize> = report.findings.iter().map(|finding| (finding.rule, 0)).collect();
    rules.values_mut().enumerate().for_each(|(index, place)| *place = index);
    let described: Vec<_> = rules.keys().map(|rule| json!({"id": rule, "name": rule})).collect();
    let results: Vec<_> =
        report.findings.iter().map(|finding| result(finding, rules[finding.rule])).collect();
    let notifications =
        text::not_checked(report).map(|words| json!({"level": "note", "message": {"text": words}}));
    let notifications: Vec<_> = notifications.into_iter().collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "inference-mesh", "version": env!("CARGO_PKG_VERSION"), "rules": described,
            }},
            "columnKind": "unicodeCodePoints",
            "invocations": [{"executionSuccessful": true, "toolExecutionNotifications": notifications}],
            "results": results,
        }],
    })
}

fn result(finding: &Finding, rule: usize) -> Value {
    let field = if finding.pointer.is_empty() { String::new() } else { format!(" {}", finding.pointer) };
    json!({
        "ruleId": finding.rule,
        "ruleIndex": rule,
        "level": finding.level_name(),
        "message": {"text": format!("{}{field}: {}", finding.resource, finding.reason)},
        "locations": [{
            "physicalLocation": {
                "artifactLocation": {"uri": uri(&finding.file)},
                "region": {"startLine": finding.line},
            },
            "logicalLocations": [{"fullyQualifiedName": format!("{}{field}", finding.resource)}],
        }],
    })
}

/// A file's name as a relative reference (RFC 3986), or as a URL if it begins at the root.
fn uri(file: &str) -> String {
    let mut uri = String::new();
    if file.starts_with('/') {
        uri.push_str("file://");
    }
    for byte in file.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                uri.push(char::from(byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn a_files_name_becomes_a_reference() {
        assert_eq!(uri("a b/c.yaml"), "a%20b/c.yaml");
        assert_eq!(uri("/tmp/x.yaml"), "file:///tmp/x.yaml");
    }
}
