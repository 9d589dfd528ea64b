//! Kubernetes' own kinds: of each only the fields that the resources here have, and so that a mistake is one.

use serde_json::{Value, json};

use super::close;

/// A kind, and the schema of what a resource of it has besides `apiVersion`, `kind` and `metadata`.
pub(super) struct Kind {
    /// `apiVersion kind`.
    pub(super) name: &'static str,
    pub(super) namespaced: bool,
    /// `required` and `properties`.
    pub(super) parts: Value,
}

pub(super) fn kinds() -> Vec<Kind> {
    let in_namespace = |name, parts| Kind { name, namespaced: true, parts };
    let spec = |schema: Value| json!({"required": ["spec"], "properties": {"spec": schema}});
    vec![
        Kind { name: "v1 Namespace", namespaced: false, parts: json!({"properties": {}}) },
        in_namespace("v1 ConfigMap", json!({"required": ["data"], "properties": {"data": texts()}})),
        in_namespace(
            "v1 ServiceAccount",
            json!({"properties": {"automountServiceAccountToken": {"const": false}}}),
        ),
        in_namespace("v1 PersistentVolumeClaim", spec(claim())),
        in_namespace("v1 Pod", spec(pod())),
        in_namespace("v1 Service", spec(service())),
        in_namespace("apps/v1 Deployment", spec(deployment())),
        in_namespace("rbac.authorization.k8s.io/v1 Role", role()),
        in_namespace("rbac.authorization.k8s.io/v1 RoleBinding", role_binding()),
    ]
}

fn texts() -> Value {
    json!({"type": "object", "additionalProperties": {"type": "string"}})
}

fn labels() -> Value {
    json!({"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}})
}

fn text() -> Value {
    json!({"type": "string", "minLength": 1})
}

/// The name of a port: IANA's service names (RFC 6335).
fn port_name() -> Value {
    json!({"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 15})
}

fn port_number() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": 65535})
}

/// A list with at least one element.
fn list(of: &Value) -> Value {
    json!({"type": "array", "minItems": 1, "items": of})
}

/// An object with a name that must be there.
fn named() -> Value {
    json!({"type": "object", "required": ["name"], "properties": {"name": text()}})
}

fn claim() -> Value {
    json!({
        "type": "object",
        "required": ["accessModes", "resources"],
        "properties": {
            "accessModes": list(&json!({"enum": ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"]})),
            "storageClassName": text(),
            "resources": {
                "type": "object", "required": ["requests"], "properties": {"requests": labels()},
            },
        },
    })
}

/// A Service for pods: headless, or with an address that the cluster chooses.
fn service() -> Value {
    let port = json!({
        "type": "object",
        "required": ["name", "port"],
        "properties": {
            "name": port_name(),
            "port": port_number(),
            "targetPort": {"anyOf": [port_number(), port_name()]},
            "appProtocol": text(),
        },
    });
    json!({
        "type": "object",
        "required": ["selector", "ports"],
        "properties": {
            "type": {"enum": ["ClusterIP", "LoadBalancer"]},
            "clusterIP": {"const": "None"},
            "selector": labels(),
            "ports": list(&port),
        },
    })
}

fn deployment() -> Value {
    let closed = |mut schema: Value| {
        close(&mut schema);
        schema
    };
    let injected = json!({
        "properties": {"metadata": {"properties": {"labels": {"required": ["sidecar.istio.io/inject"]}}}},
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
                        "type": "object",
                        "required": ["labels"],
                        "properties": {"labels": labels(), "annotations": labels()},
                    },
                    "spec": {},
                },
                "if": injected,
                "then": {"properties": {"spec": closed(gateway())}},
                "else": {"properties": {"spec": closed(pod())}},
            },
        },
    })
}

/// A pod that meets the Pod Security Standard "restricted" as far as its fields are here, with secrets by reference.
fn pod() -> Value {
    let empty = json!({"type": "object", "properties": {"sizeLimit": text()}});
    let claimed = json!({"type": "object", "required": ["claimName"], "properties": {"claimName": text()}});
    json!({
        "type": "object",
        "required": ["automountServiceAccountToken", "containers"],
        "properties": {
            "serviceAccountName": text(),
            "automountServiceAccountToken": {"const": false},
            "securityContext": {
                "type": "object",
                "properties": {
                    "runAsUser": {"type": "integer", "minimum": 1},
                    "fsGroup": {"type": "integer", "minimum": 1},
                },
            },
            "containers": list(&container()),
            "volumes": list(&json!({
                "type": "object",
                "required": ["name"],
                // The name, and what is behind it.
                "minProperties": 2,
                "maxProperties": 2,
                "properties": {"name": text(), "emptyDir": empty, "persistentVolumeClaim": claimed},
            })),
        },
    })
}

/// The pod of a gateway, into which Istio's webhook puts Envoy.
fn gateway() -> Value {
    let sysctl = json!({
        "type": "object", "required": ["name", "value"],
        "properties": {"name": {"const": "net.ipv4.ip_unprivileged_port_start"}, "value": text()},
    });
    json!({
        "type": "object",
        "required": ["serviceAccountName", "containers"],
        "properties": {
            "serviceAccountName": text(),
            "securityContext": {"type": "object", "properties": {"sysctls": list(&sysctl)}},
            "containers": list(&json!({
                "type": "object",
                "required": ["name", "image", "securityContext"],
                "properties": {
                    "name": {"const": "istio-proxy"},
                    "image": {"const": "auto"},
                    "securityContext": rights(),
                },
            })),
        },
    })
}

fn container() -> Value {
    let secret = json!({
        "type": "object", "required": ["name", "key"], "properties": {"name": text(), "key": text()},
    });
    let variable = json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": text(),
            "value": text(),
            "valueFrom": {
                "type": "object", "required": ["secretKeyRef"], "properties": {"secretKeyRef": secret},
            },
        },
        "if": {"properties": {"name": {"pattern": "SECRET|PASSWORD|TOKEN|CREDENTIAL"}}},
        "then": {"required": ["valueFrom"], "properties": {"value": false}},
        "else": {"oneOf": [{"required": ["value"]}, {"required": ["valueFrom"]}]},
    });
    json!({
        "type": "object",
        "required": ["name", "image", "securityContext", "resources"],
        "properties": {
            "name": text(),
            "image": {"type": "string", "pattern": "[:@][^/]+$"},
            "command": list(&text()),
            "envFrom": list(&json!({
                "type": "object", "required": ["configMapRef"], "properties": {"configMapRef": named()},
            })),
            "env": list(&variable),
            "ports": list(&json!({
                "type": "object",
                "required": ["name", "containerPort"],
                "properties": {"name": port_name(), "containerPort": port_number()},
            })),
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
            "volumeMounts": list(&json!({
                "type": "object",
                "required": ["name", "mountPath"],
                "properties": {"name": text(), "mountPath": {"type": "string", "pattern": "^/"}},
            })),
            "securityContext": rights(),
            "resources": {
                "type": "object",
                "required": ["requests", "limits"],
                "properties": {"requests": labels(), "limits": labels()},
            },
        },
    })
}

/// A container's `securityContext`: without any rights.
fn rights() -> Value {
    json!({
        "type": "object",
        "required": ["allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem", "runAsNonRoot"],
        "properties": {
            "allowPrivilegeEscalation": {"const": false},
            "capabilities": {
                "type": "object", "required": ["drop"], "properties": {"drop": {"const": ["ALL"]}},
            },
            "readOnlyRootFilesystem": {"const": true},
            "runAsNonRoot": {"const": true},
            "seccompProfile": {
                "type": "object", "required": ["type"], "properties": {"type": {"const": "RuntimeDefault"}},
            },
        },
    })
}

fn role() -> Value {
    let rule = json!({
        "type": "object",
        "required": ["apiGroups", "resources", "verbs"],
        "properties": {
            "apiGroups": list(&json!({"type": "string"})),
            "resources": list(&text()),
            "verbs": list(&json!({"enum": ["get", "list", "watch"]})),
        },
    });
    json!({"required": ["rules"], "properties": {"rules": list(&rule)}})
}

fn role_binding() -> Value {
    let role = json!({
        "type": "object",
        "required": ["apiGroup", "kind", "name"],
        "properties": {
            "apiGroup": {"const": "rbac.authorization.k8s.io"}, "kind": {"const": "Role"}, "name": text(),
        },
    });
    let account = json!({
        "type": "object",
        "required": ["kind", "name", "namespace"],
        "properties": {"kind": {"const": "ServiceAccount"}, "name": text(), "namespace": text()},
    });
    json!({
        "required": ["roleRef", "subjects"],
        "properties": {"roleRef": role, "subjects": list(&account)},
    })
}
