{{/*
The Gateway itself. One of the Gateway API has no labels of the chart: Istio copies a Gateway's labels to the pods that it
makes for it, and each new version of the chart would restart them.
*/}}
{{- define "inference-filters.gateway" }}
{{- if eq .place "chart" }}
---
apiVersion: networking.istio.io/v1
kind: Gateway
{{ include "inference-filters.metadata" (dict "p" . "name" .name "namespace" .namespace) }}
spec:
  selector: {{ toJson .v.pods.labels }}
  servers:
  - port:
      number: {{ .v.port }}
      name: {{ default (ternary "https" "http" (not (empty .v.tls))) .v.portName | quote }}
      protocol: {{ ternary "HTTPS" "HTTP" (not (empty .v.tls)) }}
    hosts: {{ toJson (default (list "*") .v.hosts) }}
    {{- with .v.tls }}
    tls:
      mode: SIMPLE
      credentialName: {{ .secret | quote }}
    {{- end }}
{{- else }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: {{ .name | quote }}
  namespace: {{ .namespace | quote }}
  {{- if eq .kind "waypoint" }}
  labels:
    istio.io/waypoint-for: service
  {{- end }}
spec:
  {{- if eq .kind "waypoint" }}
  gatewayClassName: istio-waypoint
  {{- else }}
  gatewayClassName: {{ default "istio" .v.className | quote }}
  {{- end }}
  infrastructure:
    annotations:
      sidecar.istio.io/statsInclusionPrefixes: dynamicmodulescustom,wasmcustom
      sidecar.istio.io/extraStatTags: model,version,grpc_status,le
    {{- if .delivered }}
    parametersRef: { group: "", kind: ConfigMap, name: {{ .name | quote }} }
    {{- end }}
  listeners:
  {{- if eq .kind "waypoint" }}
  - name: mesh
    port: 15008
    protocol: HBONE
  {{- else }}
  - name: {{ default (ternary "https" "http" (not (empty .v.tls))) .v.portName | quote }}
    port: {{ .v.port }}
    protocol: {{ ternary "HTTPS" "HTTP" (not (empty .v.tls)) }}
    {{- if and .v.hosts (ne (first .v.hosts) "*") }}
    hostname: {{ first .v.hosts | quote }}
    {{- end }}
    {{- with .v.tls }}
    tls:
      mode: Terminate
      certificateRefs: [{ name: {{ .secret | quote }} }]
    {{- end }}
    allowedRoutes:
      namespaces: { from: {{ default "Same" .v.routesFrom }} }
  {{- end }}
{{- end }}
{{- end -}}
