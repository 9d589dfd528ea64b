{{/* kserve-transcoder at a proxy, and the policy that goes with it. */}}
{{- define "inference-filters.transcoder" }}
{{- $v := .v.transcoder }}
{{- $config := deepCopy (default dict $v.config) }}
{{- if $v.models }}{{ $_ := set $config "path" "route" }}{{ end }}
{{- $image := .root.Values.images.kserveTranscoder }}
{{- if eq .form "wasm" }}
  {{- include "inference-filters.plugin" (dict "p" . "image" $image "name" (default "kserve-transcoder" $v.name) "phase" "UNSPECIFIED_PHASE" "priority" 0 "config" $config "onPort" true) }}
{{- else if eq .form "wasmHold" }}
  {{- $name := default "kserve-transcoder-hold" $v.name }}
  {{- $_ := set $config "hold_response_headers" true }}
  {{- include "inference-filters.envoyFilter" (dict "p" . "name" $name "priority" 10) }}
  {{- include "inference-filters.holdPatches" (dict "p" . "image" $image "name" $name "rootId" "kserve_transcoder" "config" $config) | nindent 2 }}
{{- else }}
  {{- $name := default "kserve-transcoder" $v.name }}
  {{- include "inference-filters.envoyFilter" (dict "p" . "name" $name "priority" 10) }}
  {{- include "inference-filters.nativePatch" (dict "p" . "name" "kserve-transcoder" "filter" "kserve_transcoder" "config" $config) | nindent 2 }}
{{- end }}
{{- if ne (dig "denyManagement" true $v) false }}
---
# Authorisation comes before the transcoder in every form, so a policy sees the path that the client sent: both shapes of an
# operation are named.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
{{ include "inference-filters.metadata" (dict "p" . "name" (default "models-are-managed-elsewhere" $v.policyName) "namespace" .plugins) }}
spec:
  {{- include "inference-filters.target" . | nindent 2 }}
  action: DENY
  rules:
  - to:
    - operation:
        {{- if eq .kind "gateway" }}
        ports: [{{ .v.port | toString | quote }}]
        {{- end }}
        paths:
        - /v2/repository/*
        # The same behind a prefix of any depth. A path can be matched by its beginning or by its end only, so the metadata of
        # a model that is called like one of these ends (GET /v2/models/load) is denied, too.
        - "*/index"
        - "*/load"
        - "*/unload"
        - "*/v2/models"
        - /inference.GRPCInferenceService/Repository*
        # Triton's extensions that change what the server traces, logs and maps.
        - "*/trace/setting"
        - "*/v2/logging"
        - /v2/systemsharedmemory/*
        - /v2/cudasharedmemory/*
        - "*/status"
        - "*/register"
        - "*/unregister"
        - /inference.GRPCInferenceService/TraceSetting
        - /inference.GRPCInferenceService/LogSettings
        - /inference.GRPCInferenceService/SystemSharedMemory*
        - /inference.GRPCInferenceService/CudaSharedMemory*
{{- end }}
{{- end -}}
