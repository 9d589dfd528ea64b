{{/* The routes to the service, and the groups of its endpoints that they name. */}}
{{- define "inference-filters.routesOf" }}
{{- if eq .place "gateway" }}
  {{- include "inference-filters.httpRoute" . }}
{{- else if ne .routing "none" }}
  {{- include "inference-filters.virtualService" . }}
{{- end }}
{{- if has .routing (list "groups" "models") }}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
{{ include "inference-filters.metadata" (dict "p" . "name" (default .service.name .routes.destinationRule) "namespace" .namespace) }}
spec:
  host: {{ .service.host }}
  subsets:
  {{- range .groups }}
  - name: {{ .name | quote }}
    labels: {{ toJson .labels }}
  {{- end }}
{{- end }}
{{- end -}}

{{/*
A JSON request needs both paths: it arrives under /v2, and after the transcoder has made it a gRPC request Envoy selects the
route again, by the gRPC method's path.
*/}}
{{- define "inference-filters.httpRoute" }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
{{ include "inference-filters.metadata" (dict "p" . "name" (default .service.name .routes.name) "namespace" .namespace) }}
spec:
  parentRefs:
  - name: {{ .name | quote }}
  rules:
  - backendRefs:
    - name: {{ .service.name | quote }}
      {{- if ne .service.namespace .namespace }}
      namespace: {{ .service.namespace | quote }}
      {{- end }}
      port: {{ .service.port }}
    {{- if kindIs "map" .v.transcoder }}
    matches:
    - path: { type: PathPrefix, value: /v2 }
    - path: { type: PathPrefix, value: /inference.GRPCInferenceService }
    {{- end }}
{{- end -}}

{{- define "inference-filters.virtualService" }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
{{ include "inference-filters.metadata" (dict "p" . "name" (default .service.name .routes.name) "namespace" .namespace) }}
spec:
  {{- if eq .kind "gateway" }}
  gateways: [{{ .name | quote }}]
  hosts: {{ toJson (default (list "*") .v.hosts) }}
  {{- else }}
  hosts: [{{ .service.host }}]
  {{- end }}
  http:
  {{- if eq .routing "models" }}
    {{- include "inference-filters.modelRoutes" . | nindent 2 }}
  {{- else if eq .routing "groups" }}
    {{- include "inference-filters.groupRoutes" . | nindent 2 }}
  {{- else }}
  - route:
    {{- include "inference-filters.destination" (dict "p" .) | nindent 4 }}
    {{- if and (kindIs "map" .v.transcoder) (eq .kind "gateway") }}
    match:
    - uri: { exact: /v2 }
    - uri: { prefix: /v2/ }
    - uri: { prefix: /inference.GRPCInferenceService/ }
    {{- end }}
  {{- end }}
{{- end -}}

{{/* Where a route leads: dict "p", "group". */}}
{{- define "inference-filters.destination" -}}
- destination:
    host: {{ ternary (include "inference-filters.clusterHost" .p) .p.service.host (eq .p.routing "cluster") }}
    port: { number: {{ .p.service.port }} }
    {{- with .group }}
    subset: {{ . | quote }}
    {{- end }}
{{- end -}}

{{/*
A route for each group, and one without a condition: without it, a waypoint would answer everything else with 404. A header
of dynamic-subset cannot be a client's: the filter removes it first.
*/}}
{{- define "inference-filters.groupRoutes" -}}
{{- $p := . -}}
{{- range .groups }}
{{- $header := dig "match" "header" "" . }}
{{- $value := dig "match" "value" "" . }}
{{- if and (not $header) (eq $p.by "routes") }}
  {{- $header = include "inference-filters.header" (dict "p" $p "key" (default "runtime" $p.v.subsets.key)) }}
  {{- $value = .name }}
{{- end }}
{{- if $header }}
- name: {{ default .name .route | quote }}
  match:
  - headers: { {{ $header | quote }}: { exact: {{ $value | quote }} } }
  route:
  {{- include "inference-filters.destination" (dict "p" $p "group" .name) | nindent 2 }}
{{- end }}
{{- end }}
- name: {{ default "any" .otherwise.route | quote }}
  route:
  {{- include "inference-filters.destination" (dict "p" . "group" .otherwise.group) | nindent 2 }}
{{- end -}}

{{/*
A route for each operation of a model, because what a route writes is fixed: the transcoder leaves the path alone and the
route rewrites it. gRPC clients take the last one: their model is in the message, where no route can see it.
*/}}
{{- define "inference-filters.modelRoutes" -}}
{{- $p := . -}}
{{- $version := "(/versions/[^/]+)?" -}}
{{- range .v.transcoder.models }}
{{- $model := printf "/v2/models/%s%s" (regexQuoteMeta .model) $version }}
{{- include "inference-filters.operation" (dict "p" $p "group" .group "name" (printf "%s-infer" .model) "path" (printf "%s/infer" $model) "rpc" "ModelInfer") }}
{{- include "inference-filters.operation" (dict "p" $p "group" .group "name" (printf "%s-ready" .model) "path" (printf "%s/ready" $model) "rpc" "ModelReady") }}
{{- include "inference-filters.operation" (dict "p" $p "group" .group "name" (printf "%s-metadata" .model) "path" $model "rpc" "ModelMetadata") }}
{{- end }}
{{- $any := printf "/v2/models/[^/]+%s" $version }}
{{- include "inference-filters.operation" (dict "p" $p "name" "model-infer" "path" (printf "%s/infer" $any) "rpc" "ModelInfer") }}
{{- include "inference-filters.operation" (dict "p" $p "name" "model-ready" "path" (printf "%s/ready" $any) "rpc" "ModelReady") }}
{{- include "inference-filters.operation" (dict "p" $p "name" "model-metadata" "path" $any "rpc" "ModelMetadata") }}
{{- include "inference-filters.operation" (dict "p" $p "name" "server-live" "path" "/v2/health/live" "rpc" "ServerLive") }}
{{- include "inference-filters.operation" (dict "p" $p "name" "server-ready" "path" "/v2/health/ready" "rpc" "ServerReady") }}
{{- include "inference-filters.operation" (dict "p" $p "name" "server-metadata" "path" "/v2/?" "rpc" "ServerMetadata") }}
- name: grpc
  route:
  {{- include "inference-filters.destination" (dict "p" $p) | nindent 2 }}
{{- end -}}

{{- define "inference-filters.operation" }}
- name: {{ .name | quote }}
  match:
  - uri: { regex: {{ .path | quote }} }
  rewrite:
    uriRegexRewrite: { match: ".+", rewrite: /inference.GRPCInferenceService/{{ .rpc }} }
  route:
  {{- include "inference-filters.destination" (dict "p" .p "group" (default .p.otherwise.group .group)) | nindent 2 }}
{{- end -}}
