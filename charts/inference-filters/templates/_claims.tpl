{{/* claim-headers at a proxy, and who verifies the tokens. */}}
{{- define "inference-filters.claims" }}
{{- $v := .v.claims }}
{{- $name := default "claim-headers" $v.name }}
{{- $config := deepCopy (default dict $v.config) }}
{{- $_ := set $config "map" $v.map }}
{{- $image := .root.Values.images.claimHeaders }}
{{- if eq (default "istio" $v.verifiedBy) "filter" }}
  {{- $_ := set $config "source" "builtin" }}
  {{- $issuers := list }}
  {{- range $v.issuers }}
    {{- $host := (urlParse .jwksUri).host }}
    {{- $issuers = append $issuers (dict "issuer" .issuer "audiences" .audiences "jwks_uri" .jwksUri "cluster" (printf "outbound|443||%s" $host)) }}
  {{- end }}
  {{- $_ := set $config "issuers" $issuers }}
  {{- include "inference-filters.plugin" (dict "p" . "image" $image "name" $name "phase" "AUTHN" "priority" 30 "config" $config) }}
  {{- include "inference-filters.providers" . }}
{{- else }}
  {{- if $v.issuers }}
    {{- include "inference-filters.requestAuthentication" . }}
  {{- end }}
  {{- if ne .form "native" }}
    {{- include "inference-filters.plugin" (dict "p" . "image" $image "name" $name "phase" "AUTHZ" "priority" 30 "config" $config) }}
  {{- else }}
    {{- $metadata := dict "payload_header" "x-jwt-payload" }}
    {{- $_ := set $config "metadata" $metadata }}
    {{- include "inference-filters.envoyFilter" (dict "p" . "name" $name "priority" 1) }}
    {{- include "inference-filters.nativePatch" (dict "p" . "name" "claim-headers" "filter" "claim_headers" "config" $config) | nindent 2 }}
  # In front of everything: takes a client's own x-jwt-payload off and leaves a mark, without which the filter ignores that
  # header.
    {{- include "inference-filters.nativePatch" (dict "p" . "name" "claim-headers-guard" "filter" "claim_headers" "config" (dict "source" "guard" "metadata" $metadata) "first" true) | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "inference-filters.requestAuthentication" }}
{{- $native := eq .form "native" }}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
{{ include "inference-filters.metadata" (dict "p" . "name" (default (printf "idp-at-the-%s" .kind) .v.claims.authenticationName) "namespace" .plugins) }}
spec:
  {{- include "inference-filters.target" . | nindent 2 }}
  jwtRules:
  {{- range .v.claims.issuers }}
  - issuer: {{ .issuer | quote }}
    jwksUri: {{ .jwksUri | quote }}
    audiences: {{ toJson .audiences }}
    {{- if .forwardToken }}
    forwardOriginalToken: true
    {{- end }}
    {{- if $native }}
    # A dynamic module cannot read claims in metadata. The filter takes this header off again.
    outputPayloadToHeader: x-jwt-payload
    {{- end }}
  {{- end }}
{{- end -}}

{{/*
The clusters through which the filter fetches keys. A server that can pass for the provider can sign tokens, so its
certificate is checked.
*/}}
{{- define "inference-filters.providers" }}
{{- $p := . }}
{{- $seen := list }}
{{- range $i, $issuer := .v.claims.issuers }}
{{- $host := (urlParse .jwksUri).host }}
{{- if not (has $host $seen) }}
{{- $seen = append $seen $host }}
{{- $name := default (ternary "idp" (printf "idp-%d" $i) (eq $i 0)) .name }}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
{{ include "inference-filters.metadata" (dict "p" $p "name" $name "namespace" $p.plugins) }}
spec:
  hosts: [{{ $host | quote }}]
  location: MESH_EXTERNAL
  resolution: DNS
  ports:
  - { number: 443, name: https, protocol: HTTPS }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
{{ include "inference-filters.metadata" (dict "p" $p "name" $name "namespace" $p.plugins) }}
spec:
  host: {{ $host | quote }}
  trafficPolicy:
    tls:
      mode: SIMPLE
      sni: {{ $host | quote }}
      subjectAltNames: [{{ $host | quote }}]
      caCertificates: /etc/ssl/certs/ca-certificates.crt
{{- end }}
{{- end }}
{{- end -}}
