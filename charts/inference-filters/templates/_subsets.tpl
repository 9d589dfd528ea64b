{{/* The header that dynamic-subset sets for a key: dict "p", "key". */}}
{{- define "inference-filters.header" -}}
{{- $prefix := dig "config" "emit_prefix" "x-subset-" .p.v.subsets -}}
{{ printf "%s%s" $prefix (.key | lower | replace "/" "-") }}
{{- end -}}

{{/* A host that Istio does not know: the routes name it, and Istio makes the name of a cluster of it. */}}
{{- define "inference-filters.clusterHost" -}}
{{ default (printf "%s-dyn.internal" .service.name) (dig "cluster" "host" "" (default dict .v.subsets)) }}
{{- end -}}

{{/* dynamic-subset at a proxy, and what acts on the pairs that it sets. */}}
{{- define "inference-filters.subsets" }}
{{- $v := .v.subsets }}
{{- $config := deepCopy (default dict $v.config) }}
{{- with $v.rules }}{{ $_ := set $config "rules" . }}{{ end }}
{{- $image := .root.Values.images.dynamicSubset }}
{{- $transcoded := kindIs "map" .v.transcoder }}
{{- if eq .form "wasm" }}
  {{- include "inference-filters.plugin" (dict "p" . "image" $image "name" (default "dynamic-subset" $v.name) "phase" "UNSPECIFIED_PHASE" "priority" 20 "config" $config "onPort" true) }}
  {{- if eq .by "loadBalancer" }}
    {{- include "inference-filters.lua" (dict "p" . "name" "subset-keys" "priority" 15) }}
    {{- include "inference-filters.envoyFilter" (dict "p" . "name" (default (printf "%s-subsets" .service.name) (dig "cluster" "name" "" $v)) "priority" 5) }}
    {{- include "inference-filters.subsetCluster" . | nindent 2 }}
  {{- end }}
  {{- if $transcoded }}
    {{- include "inference-filters.lua" (dict "p" . "name" "body-for-get" "priority" 10) }}
  {{- end }}
{{- else if eq .form "wasmHold" }}
  {{- $name := default "dynamic-subset-hold" $v.name }}
  {{- $_ := set $config "hold_request_headers" true }}
  {{- include "inference-filters.envoyFilter" (dict "p" . "name" $name "priority" 5) }}
  {{- include "inference-filters.holdPatches" (dict "p" . "image" $image "name" $name "rootId" "dynamic_subset" "config" $config) | nindent 2 }}
  {{- if eq .by "loadBalancer" }}
    {{- include "inference-filters.keysPatch" . | nindent 2 }}
  {{- end }}
  {{- if $transcoded }}
    {{- include "inference-filters.bodyPatch" . | nindent 2 }}
  {{- end }}
  {{- if eq .by "loadBalancer" }}
    {{- include "inference-filters.subsetCluster" . | nindent 2 }}
  {{- end }}
{{- else }}
  {{- include "inference-filters.envoyFilter" (dict "p" . "name" (default "dynamic-subset" $v.name) "priority" 5) }}
  {{- include "inference-filters.nativePatch" (dict "p" . "name" "dynamic-subset" "filter" "dynamic_subset" "config" $config) | nindent 2 }}
  {{- if eq .by "loadBalancer" }}
    {{- include "inference-filters.policyCluster" . | nindent 2 }}
  {{- end }}
{{- end }}
{{- if and (eq .by "loadBalancer") (ne .form "native") }}
  {{- include "inference-filters.groupServices" . }}
{{- end }}
{{- end -}}

{{/* A Lua extension between dynamic-subset (20) and the transcoder (0): dict "p", "name" (also of its file), "priority". */}}
{{- define "inference-filters.lua" }}
---
apiVersion: extensions.istio.io/v1alpha1
kind: TrafficExtension
{{ include "inference-filters.metadata" (dict "p" .p "name" .name "namespace" .p.plugins) }}
spec:
  {{- include "inference-filters.target" .p | nindent 2 }}
  {{- if eq .p.kind "gateway" }}
  match:
  - ports: [{ number: {{ .p.v.port }} }]
  {{- end }}
  phase: UNSPECIFIED
  priority: {{ .priority }}
  lua:
    inlineCode: |
      {{- .p.root.Files.Get (printf "files/%s.lua" .name) | nindent 6 }}
{{- end -}}

{{/* A wasm module cannot write the metadata that the load balancer reads: one rule for each key. */}}
{{- define "inference-filters.keysPatch" -}}
{{- $p := . -}}
- {{ include "inference-filters.httpFilter" (dict "p" .) | nindent 2 | trim }}
  patch:
    operation: INSERT_BEFORE
    value:
      name: dynamic-subset-keys
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config
        request_rules:
        {{- range include "inference-filters.keys" . | fromJsonArray }}
        - header: {{ include "inference-filters.header" (dict "p" $p "key" .) | quote }}
          on_header_present: { metadata_namespace: envoy.lb, key: {{ . | quote }} }
          remove: true
        {{- end }}
{{- end -}}

{{/*
In wasm the transcoder sends a request without a body beside the route, where no subset applies. A blank body is enough to keep
a GET on its route.
*/}}
{{- define "inference-filters.bodyPatch" -}}
- {{ include "inference-filters.httpFilter" (dict "p" .) | nindent 2 | trim }}
  patch:
    operation: INSERT_BEFORE
    value:
      name: body-for-get
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
        default_source_code:
          inline_string: |
            {{- .root.Files.Get "files/body-for-get.lua" | nindent 12 }}
{{- end -}}

{{/* The keys of all groups' metadata, each once, in the order of the groups, as JSON. */}}
{{- define "inference-filters.keys" -}}
{{- $keys := list -}}
{{- range .groups -}}{{- range (keys (default dict .metadata) | sortAlpha) -}}
{{- if not (has . $keys) -}}{{- $keys = append $keys . -}}{{- end -}}
{{- end -}}{{- end -}}
{{ toJson $keys }}
{{- end -}}

{{/* A cluster whose endpoints have a group, which no DestinationRule can make. Its name is what Istio makes of the host. */}}
{{- define "inference-filters.subsetCluster" -}}
{{- $p := . -}}
{{- $selectors := list -}}
{{- range .groups -}}
  {{- $keys := keys .metadata | sortAlpha -}}
  {{- if not (has $keys $selectors) -}}{{- $selectors = append $selectors $keys -}}{{- end -}}
{{- end -}}
- applyTo: CLUSTER
  match:
    context: {{ include "inference-filters.context" . }}
  patch:
    operation: ADD
    value:
      name: {{ include "inference-filters.clusterName" . | quote }}
      type: STRICT_DNS
      connect_timeout: 10s
      dns_lookup_family: V4_PREFERRED
      respect_dns_ttl: true
      lb_policy: LEAST_REQUEST
      # A request that asks for no group, for one without endpoints or for two at once goes to any endpoint.
      lb_subset_config:
        fallback_policy: ANY_ENDPOINT
        subset_selectors:
        {{- range $selectors }}
        - keys: {{ toJson . }}
        {{- end }}
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: { http2_protocol_options: {} }
      # Without a transport socket: plain text to the pods, which a PeerAuthentication with mode STRICT refuses.
      load_assignment:
        cluster_name: {{ include "inference-filters.clusterName" . | quote }}
        endpoints:
        - lb_endpoints:
          {{- range .groups }}
          - endpoint:
              address:
                socket_address:
                  address: {{ printf "%s.%s.svc.cluster.local" (include "inference-filters.groupService" (dict "p" $p "group" .)) $p.service.namespace }}
                  port_value: {{ $p.service.port }}
            metadata: { filter_metadata: { envoy.lb: {{ toJson .metadata }} } }
          {{- end }}
{{- end -}}

{{- define "inference-filters.clusterName" -}}
{{- $form := ternary "inbound-vip|%v|http|%s" "outbound|%v||%s" (eq .kind "waypoint") -}}
{{ printf $form .service.port (include "inference-filters.clusterHost" .) }}
{{- end -}}

{{/*
The policy runtime-group, which knows a group by what istiod says of every endpoint. At a gateway Istio's own cluster gets it:
endpoints, TLS and HBONE stay as Istio has them. At a waypoint patches do not reach the cluster of the Service, so this is a
second one with the same endpoints.
*/}}
{{- define "inference-filters.policyCluster" -}}
{{- $key := default "runtime" .v.subsets.key -}}
{{- $keys := list (dict "header" (include "inference-filters.header" (dict "p" . "key" $key)) "istio_workload" "workload") -}}
{{- $policy := default (dict "keys" $keys "no_group" "any" "unknown_group" "any" "unhealthy_group" "any") .v.subsets.policy -}}
- applyTo: CLUSTER
  match:
    context: {{ include "inference-filters.context" . }}
    {{- if eq .kind "gateway" }}
    cluster:
      name: {{ printf "outbound|%v||%s" .service.port .service.host | quote }}
    {{- end }}
  patch:
    operation: {{ ternary "MERGE" "ADD" (eq .kind "gateway") }}
    value:
      {{- if eq .kind "waypoint" }}
      name: {{ include "inference-filters.clusterName" . | quote }}
      type: EDS
      connect_timeout: 10s
      eds_cluster_config:
        service_name: {{ printf "inbound-vip|%v|http|%s" .service.port .service.host | quote }}
        eds_config:
          ads: {}
          resource_api_version: V3
          initial_fetch_timeout: 0s
      {{- end }}
      load_balancing_policy:
        policies:
        - typed_extension_config:
            name: envoy.load_balancing_policies.dynamic_modules
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.dynamic_modules.v3.DynamicModulesLoadBalancerConfig
              dynamic_module_config:
                name: inference_filters
                do_not_close: true
              lb_policy_name: runtime-group
              lb_policy_config:
                "@type": type.googleapis.com/google.protobuf.StringValue
                value: {{ toJson $policy | quote }}
      {{- if eq .kind "waypoint" }}
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: { http2_protocol_options: {} }
      # The endpoints are internal addresses: Istio's listener connect_originate wraps the connection in HBONE, and takes from
      # this metadata where it goes.
      transport_socket:
        name: internal_upstream
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport
          passthrough_metadata:
          - { kind: { host: {} }, name: envoy.filters.listener.original_dst }
          - { kind: { host: {} }, name: istio }
          transport_socket:
            name: envoy.transport_sockets.raw_buffer
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer
      {{- end }}
{{- end -}}

{{/* dict "p", "group". */}}
{{- define "inference-filters.groupService" -}}
{{ default (printf "%s-%s" .p.service.name .group.name) .group.service }}
{{- end -}}

{{/*
One headless Service for each group: its name in the DNS is the addresses of the group's ready pods, and that is how Envoy knows
the group of an endpoint. istiod tells a proxy no labels of pods.
*/}}
{{- define "inference-filters.groupServices" }}
{{- $p := . }}
{{- range .groups }}
---
apiVersion: v1
kind: Service
{{ include "inference-filters.metadata" (dict "p" $p "name" (include "inference-filters.groupService" (dict "p" $p "group" .)) "namespace" $p.service.namespace) }}
spec:
  clusterIP: None
  selector: {{ toJson .labels }}
  ports:
  - { name: grpc, port: {{ $p.service.port }} }
{{- end }}
{{- end -}}
