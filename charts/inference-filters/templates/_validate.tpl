{{/* What the schema cannot say: keys that do not go together. Each message names the key and what to do. */}}
{{- define "inference-filters.validate" -}}
{{- $p := . -}}
{{- $v := .v -}}
{{- $filters := or (kindIs "map" $v.transcoder) (kindIs "map" $v.subsets) (kindIs "map" $v.claims) -}}
{{- if and (eq .place "chart") (eq .form "native") $filters (ne .root.Values.images.native.delivery "none") -}}
  {{- fail (printf "%s.form: native does not go with %s.pods, because this chart cannot bring the module to a Deployment of another chart; leave pods out (Istio then makes a gateway of the Gateway API), or bring the module yourself and set images.native.delivery to none" .path .path) -}}
{{- end -}}
{{- if and (eq .place "gateway") (has .routing (list "groups" "models" "cluster")) -}}
  {{- $key := "subsets" -}}
  {{- $what := "subsets.by: loadBalancer with form native" -}}
  {{- if eq .routing "models" -}}{{- $key = "transcoder.models" -}}{{- end -}}
  {{- if and (eq .routing "groups") (ne .by "routes") -}}{{- $key = "service.groups[].match" -}}{{- end -}}
  {{- fail (printf "%s.%s: an HTTPRoute cannot name a group of a Service's endpoints; name the pods of a gateway of Istio's chart in %s.pods, or use %s" .path $key .path $what) -}}
{{- end -}}
{{- if and (eq .form "wasmHold") .root.Values.images.pullSecret $filters -}}
  {{- fail (printf "%s.form: wasmHold cannot use images.pullSecret, which only a WasmPlugin has; use form wasm, or a registry that needs no secret" .path) -}}
{{- end -}}
{{- $names := list -}}
{{- range $i, $group := .groups -}}
  {{- if has .name $names -}}{{- fail (printf "%s.service.groups[%d].name: %q is there twice; give each group a name of its own" $p.path $i .name) -}}{{- end -}}
  {{- $names = append $names .name -}}
{{- end -}}
{{- with .otherwise.group -}}
  {{- if not (has . $names) -}}{{- fail (printf "%s.service.otherwise.group: unknown group %q; %s.service.groups has %s" $p.path . $p.path (join ", " $names | default "none")) -}}{{- end -}}
{{- end -}}
{{- if kindIs "map" $v.transcoder -}}{{- include "inference-filters.validateTranscoder" (dict "p" . "names" $names) -}}{{- end -}}
{{- if kindIs "map" $v.subsets -}}{{- include "inference-filters.validateSubsets" . -}}{{- end -}}
{{- if kindIs "map" $v.claims -}}{{- include "inference-filters.validateClaims" . -}}{{- end -}}
{{- end -}}

{{/* Keys of a filter's configuration that the chart writes: dict "path", "config", "keys" (what to set instead, by key). */}}
{{- define "inference-filters.notInConfig" -}}
{{- $top := . -}}
{{- range $key, $instead := .keys -}}
  {{- if hasKey (default dict $top.config) $key -}}
    {{- fail (printf "%s.config.%s: the chart writes this key; %s" $top.path $key $instead) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Two objects of one name would be one: dict "p", "key" (of the values), "kind", "name", "namespace". */}}
{{- define "inference-filters.once" -}}
{{- $id := printf "%s %s/%s" .kind .namespace .name -}}
{{- if hasKey .p.seen $id -}}
  {{- fail (printf "%s.%s: %s is made for %s as well; give this one another name" .p.path .key $id (get .p.seen $id)) -}}
{{- end -}}
{{- $_ := set .p.seen $id .p.path -}}
{{- end -}}

{{- define "inference-filters.validateTranscoder" -}}
{{- $p := .p -}}
{{- $names := .names -}}
{{- $v := .p.v.transcoder -}}
{{- $path := printf "%s.transcoder" .p.path -}}
{{- $held := dict "hold_response_headers" (printf "set %s.form to wasmHold" .p.path) -}}
{{- include "inference-filters.notInConfig" (dict "path" $path "config" $v.config "keys" $held) -}}
{{- if $v.models -}}
  {{- include "inference-filters.notInConfig" (dict "path" $path "config" $v.config "keys" (dict "path" (printf "%s.models makes routes that need \"route\"" $path))) -}}
{{- end -}}
{{- range $i, $model := $v.models -}}
  {{- if and .group (not (has .group $names)) -}}
    {{- fail (printf "%s.models[%d].group: unknown group %q; %s.service.groups has %s" $path $i .group $p.path (join ", " $names | default "none")) -}}
  {{- end -}}
{{- end -}}
{{- $kind := ternary "WasmPlugin" "EnvoyFilter" (eq .p.form "wasm") -}}
{{- $default := ternary "kserve-transcoder-hold" "kserve-transcoder" (eq .p.form "wasmHold") -}}
{{- include "inference-filters.once" (dict "p" .p "key" "transcoder.name" "kind" $kind "name" (default $default $v.name) "namespace" .p.plugins) -}}
{{- if ne (dig "denyManagement" true $v) false -}}
  {{- include "inference-filters.once" (dict "p" .p "key" "transcoder.policyName" "kind" "AuthorizationPolicy" "name" (default "models-are-managed-elsewhere" $v.policyName) "namespace" .p.plugins) -}}
{{- end -}}
{{- end -}}

{{- define "inference-filters.validateSubsets" -}}
{{- $p := . -}}
{{- $v := .v.subsets -}}
{{- $path := printf "%s.subsets" .path -}}
{{- $keys := dict "rules" (printf "write its value in %s.rules" $path) "hold_request_headers" (printf "set %s.form to wasmHold" .path) -}}
{{- if eq .form "native" -}}{{- $keys = omit $keys "hold_request_headers" -}}{{- end -}}
{{- include "inference-filters.notInConfig" (dict "path" $path "config" $v.config "keys" $keys) -}}
{{- if and (eq .by "routes") (not .groups) -}}
  {{- fail (printf "%s.by: routes lead to groups, and %s.service.groups has none; list the groups of the service's pods by their labels" $path .path) -}}
{{- end -}}
{{- if and (eq .by "loadBalancer") (eq .routing "groups") -}}
  {{- fail (printf "%s.by: loadBalancer does not go with %s.service.groups[].match, whose routes choose the group; use by: routes" $path .path) -}}
{{- end -}}
{{- if and (eq .by "loadBalancer") (ne .form "native") -}}
  {{- if not .groups -}}
    {{- fail (printf "%s.by: loadBalancer needs %s.service.groups, with the labels of each group's pods and the metadata by which it is chosen" $path .path) -}}
  {{- end -}}
  {{- range $i, $group := .groups -}}
    {{- if not .metadata -}}
      {{- fail (printf "%s.service.groups[%d].metadata: the load balancer finds group %q by it; set the key and the value that the rules give a request, such as {runtime: %s}" $p.path $i .name .name) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if and $v.policy (or (ne .form "native") (ne .by "loadBalancer")) -}}
  {{- fail (printf "%s.policy: runtime-group is a native load-balancing policy; set form to native and by to loadBalancer, or leave policy out" $path) -}}
{{- end -}}
{{- $kind := ternary "WasmPlugin" "EnvoyFilter" (eq .form "wasm") -}}
{{- $default := ternary "dynamic-subset-hold" "dynamic-subset" (eq .form "wasmHold") -}}
{{- include "inference-filters.once" (dict "p" . "key" "subsets.name" "kind" $kind "name" (default $default $v.name) "namespace" .plugins) -}}
{{- end -}}

{{- define "inference-filters.validateClaims" -}}
{{- $p := . -}}
{{- $v := .v.claims -}}
{{- $path := printf "%s.claims" .path -}}
{{- $issuers := printf "list the providers in %s.issuers" $path -}}
{{- $keys := dict "map" (printf "write its value in %s.map" $path) "source" (printf "set %s.verifiedBy" $path) "issuers" $issuers -}}
{{- if eq .form "native" -}}{{- $_ := set $keys "metadata" "it names the header that the guard protects" -}}{{- end -}}
{{- include "inference-filters.notInConfig" (dict "path" $path "config" $v.config "keys" $keys) -}}
{{- if eq (default "istio" $v.verifiedBy) "filter" -}}
  {{- if or (eq .kind "waypoint") (eq .form "native") -}}
    {{- fail (printf "%s.verifiedBy: the filter fetches keys itself in wasm at a gateway only; use verifiedBy: istio" $path) -}}
  {{- end -}}
  {{- if not $v.issuers -}}
    {{- fail (printf "%s.issuers: with verifiedBy: filter the filter needs to know whose tokens it verifies; %s" $path $issuers) -}}
  {{- end -}}
  {{- range $i, $issuer := $v.issuers -}}
    {{- if .forwardToken -}}
      {{- fail (printf "%s.issuers[%d].forwardToken: with verifiedBy: filter a token goes on unless %s.config.strip lists its header; leave forwardToken out" $path $i $path) -}}
    {{- end -}}
    {{- if contains ":" (urlParse .jwksUri).host -}}
      {{- fail (printf "%s.issuers[%d].jwksUri: with verifiedBy: filter keys are fetched at port 443; leave the port out, or use verifiedBy: istio" $path $i) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- $kind := ternary "EnvoyFilter" "WasmPlugin" (eq .form "native") -}}
{{- include "inference-filters.once" (dict "p" . "key" "claims.name" "kind" $kind "name" (default "claim-headers" $v.name) "namespace" .plugins) -}}
{{- end -}}
