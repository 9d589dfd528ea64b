{{/* Service accounts, namespace/name, as principals of the mesh, as JSON: dict "root", "accounts". */}}
{{- define "inference-filters.principals" -}}
{{- $root := .root -}}
{{- $principals := list -}}
{{- range .accounts -}}
  {{- $account := splitList "/" . -}}
  {{- $principals = append $principals (printf "%s/ns/%s/sa/%s" $root.Values.trustDomain (first $account) (last $account)) -}}
{{- end -}}
{{ toJson $principals }}
{{- end -}}

{{/* Pods that only some accounts may call. ztunnel enforces it: a policy with a selector does not apply to waypoints. */}}
{{- define "inference-filters.onlyFrom" }}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
{{ include "inference-filters.metadata" (dict "p" . "name" .v.name "namespace" (default .root.Release.Namespace .v.namespace)) }}
spec:
  selector:
    matchLabels: {{ toJson .v.labels }}
  action: ALLOW
  rules:
  - from:
    - source:
        principals: {{ include "inference-filters.principals" (dict "root" .root "accounts" .v.accounts) }}
{{- end -}}

{{/* Headers that a waypoint takes from some accounts only: other callers that send one are refused. */}}
{{- define "inference-filters.trustedHeaders" }}
{{- $p := . }}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
{{ include "inference-filters.metadata" (dict "p" . "name" .v.name "namespace" (default .root.Release.Namespace .v.namespace)) }}
spec:
  targetRefs:
  - group: ""
    kind: Service
    name: {{ .v.service | quote }}
  action: DENY
  rules:
  {{- range .v.headers }}
  - from:
    - source:
        notPrincipals: {{ include "inference-filters.principals" (dict "root" $p.root "accounts" $p.v.accounts) }}
    when:
    # "*" is "present".
    - key: {{ printf "request.headers[%s]" . | quote }}
      values: ["*"]
  {{- end }}
{{- end -}}
