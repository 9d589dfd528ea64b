{{/*
A proxy is a dict: root, kind (gateway or waypoint), path (of its values, for messages) and v (its values). "prepare" adds
what all other templates read:
  place      where it comes from: chart (a gateway of Istio's own chart, found by the labels of its pods), gateway (of the
             Gateway API) or waypoint
  namespace  of the Gateway; plugins: the namespace of what selects its pods
  form       wasm, wasmHold or native
  service    name, namespace, port, host
  groups     of the service's endpoints
  routing    what its routes go by: none, plain, groups, models or cluster
*/}}
{{- define "inference-filters.prepare" -}}
{{- $v := .v -}}
{{- $namespace := default .root.Release.Namespace $v.namespace -}}
{{- $_ := set . "name" $v.name -}}
{{- $_ = set . "namespace" $namespace -}}
{{- $_ = set . "plugins" $namespace -}}
{{- $_ = set . "form" (default "wasm" $v.form) -}}
{{- $_ = set . "place" .kind -}}
{{- if $v.pods -}}
  {{- $_ = set . "place" "chart" -}}
  {{- $_ = set . "plugins" $v.pods.namespace -}}
{{- end -}}
{{- $of := default $namespace $v.service.namespace -}}
{{- $host := printf "%s.%s.svc.cluster.local" $v.service.name $of -}}
{{- $_ = set . "service" (dict "name" $v.service.name "namespace" $of "port" $v.service.port "host" $host) -}}
{{- $_ = set . "groups" (default list $v.service.groups) -}}
{{- $_ = set . "otherwise" (default dict $v.service.otherwise) -}}
{{- $_ = set . "routes" (default dict $v.routes) -}}
{{- $by := "" -}}
{{- if kindIs "map" $v.subsets -}}
  {{- $by = default "routes" $v.subsets.by -}}
{{- end -}}
{{- $_ = set . "by" $by -}}
{{- $matched := false -}}
{{- range .groups -}}{{- if .match -}}{{- $matched = true -}}{{- end -}}{{- end -}}
{{- $routing := ternary "none" "plain" (eq .kind "waypoint") -}}
{{- if and (kindIs "map" $v.transcoder) (dig "models" "" $v.transcoder) -}}
  {{- $routing = "models" -}}
{{- else if or $matched (eq $by "routes") -}}
  {{- $routing = "groups" -}}
{{- else if and (eq $by "loadBalancer") (or (ne .form "native") (eq .kind "waypoint")) -}}
  {{- $routing = "cluster" -}}
{{- end -}}
{{- $_ = set . "routing" $routing -}}
{{- end -}}

{{/* What an object of the chart is called: dict "p" proxy, "name", "namespace". */}}
{{- define "inference-filters.metadata" -}}
metadata:
  name: {{ .name | quote }}
  namespace: {{ .namespace | quote }}
  labels:
    app.kubernetes.io/name: {{ .p.root.Chart.Name }}
    app.kubernetes.io/instance: {{ .p.root.Release.Name | quote }}
    app.kubernetes.io/version: {{ .p.root.Chart.AppVersion | quote }}
    app.kubernetes.io/managed-by: {{ .p.root.Release.Service | quote }}
    helm.sh/chart: {{ printf "%s-%s" .p.root.Chart.Name .p.root.Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{/* How plugins and policies name a proxy. A waypoint ignores those with a selector or none. */}}
{{- define "inference-filters.target" -}}
{{- if eq .place "chart" -}}
selector:
  matchLabels: {{ toJson .v.pods.labels }}
{{- else if eq .place "gateway" -}}
targetRefs:
- group: gateway.networking.k8s.io
  kind: Gateway
  name: {{ .name | quote }}
{{- else -}}
targetRefs:
- group: ""
  kind: Service
  name: {{ .service.name | quote }}
{{- end -}}
{{- end -}}

{{/* How an EnvoyFilter names a proxy: never by the Service, which is accepted and matches nothing. */}}
{{- define "inference-filters.envoyFilterTarget" -}}
{{- if eq .place "chart" -}}
workloadSelector:
  labels: {{ toJson .v.pods.labels }}
{{- else -}}
targetRefs:
- group: gateway.networking.k8s.io
  kind: Gateway
  name: {{ .name | quote }}
{{- end -}}
{{- end -}}

{{/* A waypoint is SIDECAR_INBOUND; WAYPOINT is accepted and matches nothing. */}}
{{- define "inference-filters.context" -}}
{{ ternary "SIDECAR_INBOUND" "GATEWAY" (eq .kind "waypoint") }}
{{- end -}}

{{/*
Where in a proxy an HTTP filter is put: dict "p" proxy, "first" (before all others instead of right before the router). At a
waypoint the listener and its chain are named: without them the filter would also land in those that unpack HBONE and that
serve pods' addresses.
*/}}
{{- define "inference-filters.httpFilter" -}}
applyTo: HTTP_FILTER
match:
  context: {{ include "inference-filters.context" .p }}
  listener:
    {{- if eq .p.kind "waypoint" }}
    name: main_internal
    {{- else }}
    portNumber: {{ .p.v.port }}
    {{- end }}
    filterChain:
      {{- if eq .p.kind "waypoint" }}
      name: {{ printf "inbound-vip|%v|http|%s" .p.service.port .p.service.host | quote }}
      {{- end }}
      filter:
        name: envoy.filters.network.http_connection_manager
        {{- if not .first }}
        subFilter:
          name: envoy.filters.http.router
        {{- end }}
{{- end -}}
