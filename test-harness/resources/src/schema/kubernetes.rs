//! Kubernetes' own kinds: of each only the fields that the resources here have, and so that a mistake is one.

use serde_json::{Value, json};

/// `apiVersion kind`, the part besides `metadata`, and the schema of that.
pub(super) fn kinds() -> [(&'static str, &'static str, Value); 3] {
    let data = json!({"type": "object", "additionalProperties": {"type": "string"}});
    [
        ("v1 ConfigMap", "data", data),
        ("v1 Service", "spec", service()),
        ("apps/v1 Deployment", "spec", deployment()),
    ]
}

fn labels() -> Value {
    json!({"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}})
}

/// The name of a port: IANA's service names (RFC 6335).
fn port_name() -> Value {
    json!({"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 15})
}

fn port_number() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": 65535})
}

/// A Service for pods: headless, or with an address that the cluster chooses.
fn service() -> Value {
    json!({
        "type": "object",
        "required": ["selector", "ports"],
        "properties": {
            "clusterIP": {"const": "None"},
            "selector": labels(),
            "ports": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["name", "port"],
                    "properties": {"name": port_name(), "port": port_number()},
                },
            },
        },
    })
}

/// A Deployment whose pods meet the Pod Security Standard "restricted" as far as its fields are here, with secrets by
/// reference.
fn deployment() -> Value {
    let text = json!({"type": "string", "minLength": 1});
    let named = json!({"type": "object", "required": ["name"], "properties": {"name": text}});
    let secret = json!({
        "type": "object", "required": ["name", "key"], "properties": {"name": text, "key": text},
    });
    let container = json!({
        "type": "object",
        "required": ["name", "image", "securityContext", "resources"],
        "properties": {
            "name": text,
            "image": {"type": "string", "pattern": "[:@][^/]+$"},
            "envFrom": {
                "type": "array",
                "items": {
                    "type": "object", "required": ["configMapRef"], "properties": {"configMapRef": named},
                },
            },
            "env": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "valueFrom"],
                    "properties": {
                        "name": text,
                        "valueFrom": {
                            "type": "object",
                            "required": ["secretKeyRef"],
                            "properties": {"secretKeyRef": secret},
                        },
                    },
                },
            },
            "ports": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "containerPort"],
                    "properties": {"name": port_name(), "containerPort": port_number()},
                },
            },
            "readinessProbe": {
                "type": "object",
                "required": ["httpGet"],
                "properties": {
                    "httpGet": {
                        "type": "object",
                        "required": ["path", "port"],
                        "properties": {"path": {"type": "string", "pattern": "^/"}, "port": port_name()},
                    },
                },
            },
            "securityContext": {
                "type": "object",
                "required": [
                    "allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem", "runAsNonRoot",
                ],
                "properties": {
                    "allowPrivilegeEscalation": {"const": false},
                    "capabilities": {
                        "type": "object", "required": ["drop"], "properties": {"drop": {"const": ["ALL"]}},
                    },
                    "readOnlyRootFilesystem": {"const": true},
                    "runAsNonRoot": {"const": true},
                    "seccompProfile": {
                        "type": "object",
                        "required": ["type"],
                        "properties": {"type": {"const": "RuntimeDefault"}},
                    },
                },
            },
            "resources": {
                "type": "object",
                "required": ["requests", "limits"],
                "properties": {"requests": labels(), "limits": labels()},
            },
        },
    });
    json!({
        "type": "object",
        "required": ["replicas", "selector", "template"],
        "properties": {
            "replicas": {"type": "integer", "minimum": 1},
            "selector": {
                "type": "object", "required": ["matchLabels"], "properties": {"matchLabels": labels()},
            },
            "template": {
                "type": "object",
                "required": ["metadata", "spec"],
                "properties": {
                    "metadata": {
                        "type": "object", "required": ["labels"], "properties": {"labels": labels()},
                    },
                    "spec": {
                        "type": "object",
                        "required": ["automountServiceAccountToken", "containers"],
                        "properties": {
                            "automountServiceAccountToken": {"const": false},
                            "containers": {"type": "array", "minItems": 1, "items": container},
                        },
                    },
                },
            },
        },
    })
}
