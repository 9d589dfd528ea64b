{{/* An image's name with its tag: dict "root", "image". */}}
{{- define "inference-filters.image" -}}
{{ .image.repository }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end -}}

{{/* A filter as a WasmPlugin: dict "p" proxy, "image", "name", "phase", "priority", "config", "onPort". */}}
{{- define "inference-filters.plugin" }}
---
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
{{ include "inference-filters.metadata" (dict "p" .p "name" .name "namespace" .p.plugins) }}
spec:
  {{- include "inference-filters.target" .p | nindent 2 }}
  {{- if and .onPort (eq .p.kind "gateway") }}
  match:
  - ports: [{ number: {{ .p.v.port }} }]
  {{- end }}
  url: {{ printf "oci://%s" (include "inference-filters.image" (dict "root" .p.root "image" .image)) | quote }}
  {{- with .image.digest }}
  # Of the image's manifest.
  sha256: {{ trimPrefix "sha256:" . | quote }}
  {{- end }}
  {{- with .p.root.Values.images.pullPolicy }}
  imagePullPolicy: {{ . }}
  {{- end }}
  {{- with .p.root.Values.images.pullSecret }}
  imagePullSecret: {{ . | quote }}
  {{- end }}
  # A trap in the module ends its VM, and this makes a new one. While the module cannot be fetched, requests are refused.
  failStrategy: FAIL_RELOAD
  phase: {{ .phase }}
  priority: {{ .priority }}
  pluginConfig: {{ toJson .config }}
{{- end -}}

{{/*
The two patches of a wasm filter that may hold headers back, which a WasmPlugin cannot: dict "p", "image", "name", "rootId",
"config". Istio's agent fetches the module of the first.
*/}}
{{- define "inference-filters.holdPatches" -}}
- applyTo: EXTENSION_CONFIG
  match:
    context: {{ include "inference-filters.context" .p }}
  patch:
    operation: ADD
    value:
      name: {{ .name | quote }}
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
        config:
          name: {{ .name | quote }}
          root_id: {{ .rootId }}
          allow_on_headers_stop_iteration: true
          failure_policy: FAIL_RELOAD
          vm_config:
            runtime: envoy.wasm.runtime.v8
            code:
              remote:
                http_uri:
                  uri: {{ printf "oci://%s" (include "inference-filters.image" (dict "root" .p.root "image" .image)) | quote }}
                  timeout: 30s
                  cluster: _
                {{- with .image.digest }}
                sha256: {{ trimPrefix "sha256:" . | quote }}
                {{- end }}
          configuration:
            "@type": type.googleapis.com/google.protobuf.StringValue
            value: {{ toJson .config | quote }}
- {{ include "inference-filters.httpFilter" (dict "p" .p) | nindent 2 | trim }}
  patch:
    operation: INSERT_BEFORE
    value:
      name: {{ .name | quote }}
      config_discovery:
        config_source:
          ads: {}
          resource_api_version: V3
          # The listener waits for the plugin instead of serving without it.
          initial_fetch_timeout: 0s
        # RBAC is what the agent answers with while it cannot fetch the module: nothing passes.
        type_urls:
        - type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
        - type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
{{- end -}}

{{/* The patch of a native filter: dict "p", "name", "filter", "config", "first". */}}
{{- define "inference-filters.nativePatch" -}}
- {{ include "inference-filters.httpFilter" (dict "p" .p "first" .first) | nindent 2 | trim }}
  patch:
    operation: {{ ternary "INSERT_FIRST" "INSERT_BEFORE" (not (empty .first)) }}
    value:
      name: {{ .name | quote }}
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
        dynamic_module_config:
          name: inference_filters
          # Envoy would unload the module with its last configuration, while code of it may still have to run.
          do_not_close: true
        filter_name: {{ .filter }}
        filter_config:
          "@type": type.googleapis.com/google.protobuf.StringValue
          value: {{ toJson .config | quote }}
{{- end -}}

{{/* The head of an EnvoyFilter, up to its patches: dict "p", "name", "priority". */}}
{{- define "inference-filters.envoyFilter" }}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
{{ include "inference-filters.metadata" (dict "p" .p "name" .name "namespace" .p.plugins) }}
spec:
  {{- include "inference-filters.envoyFilterTarget" .p | nindent 2 }}
  # Each is inserted right before the router, in the order of priorities.
  priority: {{ .priority }}
  configPatches:
{{- end -}}

{{/* What Istio merges into the Deployment that it makes for the Gateway, so that the proxy finds the native module. */}}
{{- define "inference-filters.delivery" }}
{{- $image := .root.Values.images.native }}
{{- $name := include "inference-filters.image" (dict "root" .root "image" $image) }}
{{- with $image.digest }}{{ $name = printf "%s@%s" $name . }}{{ end }}
---
apiVersion: v1
kind: ConfigMap
{{ include "inference-filters.metadata" (dict "p" . "name" .name "namespace" .namespace) }}
data:
  deployment: |
    spec:
      template:
        spec:
          {{- with .root.Values.images.pullSecret }}
          imagePullSecrets:
          - name: {{ . | quote }}
          {{- end }}
          {{- if eq $image.delivery "initContainer" }}
          initContainers:
          - name: inference-filters
            image: {{ $name | quote }}
            {{- with .root.Values.images.pullPolicy }}
            imagePullPolicy: {{ . }}
            {{- end }}
            command: [cp, /libinference_filters.so, /modules/]
            volumeMounts:
            - { name: inference-filters, mountPath: /modules }
            securityContext:
              allowPrivilegeEscalation: false
              capabilities: { drop: [ALL] }
              readOnlyRootFilesystem: true
              runAsNonRoot: true
              runAsUser: 1337
            resources:
              requests: { cpu: 10m, memory: 16Mi }
              limits: { memory: 64Mi }
          {{- end }}
          containers:
          - name: istio-proxy
            env:
            - { name: ENVOY_DYNAMIC_MODULES_SEARCH_PATH, value: /modules }
            volumeMounts:
            - { name: inference-filters, mountPath: /modules, readOnly: true }
          volumes:
          - name: inference-filters
            {{- if eq $image.delivery "initContainer" }}
            emptyDir: { sizeLimit: 64Mi }
            {{- else }}
            image:
              reference: {{ $name | quote }}
              {{- with .root.Values.images.pullPolicy }}
              pullPolicy: {{ . }}
              {{- end }}
            {{- end }}
{{- end -}}
