{{- /* Stands first in every template: completes the values, and refuses what no schema can tell. Writes nothing. */}}
{{- define "cocoon-farm.prepare" -}}
{{- include "cocoon-farm.complete" (dict "values" .Values "defaults" (include "cocoon-farm.defaults" . | fromYaml)) }}
{{- include "cocoon-farm.refuse" . }}
{{- end }}

{{- /* Sets what is missing or null to the chart's default: a section that a values file leaves empty, and with `--reuse-values`
       everything that the version before did not have. `resources` and `labels` are one value, of which a part may be taken away. */}}
{{- define "cocoon-farm.complete" -}}
{{- $values := .values }}
{{- range $key, $default := .defaults }}
{{- if kindIs "invalid" (index $values $key) }}
{{- $_ := set $values $key $default }}
{{- else if and (kindIs "map" $default) (not (has $key (list "resources" "labels"))) }}
{{- include "cocoon-farm.complete" (dict "values" (get $values $key) "defaults" $default) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Also the name of Services, which begins with a letter and has no dots, whatever the release is called. */}}
{{- define "cocoon-farm.fullname" -}}
{{- $release := .Release.Name | replace "." "-" }}
{{- if regexMatch "^[0-9]" $release }}{{ $release = printf "cocoon-%s" $release }}{{ end }}
{{- default (printf "%s-operator" $release) .Values.fullnameOverride | trunc 52 | regexFind "^.*[^-]" }}
{{- end }}

{{- /* Name of objects that belong to no namespace: two releases of one name must not share them. */}}
{{- define "cocoon-farm.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "cocoon-farm.fullname" .) }}
{{- end }}

{{- /* The agents' NetworkPolicies admit pods of this name in the operator's namespace. */}}
{{- define "cocoon-farm.selectorLabels" -}}
app.kubernetes.io/name: cocoon-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "cocoon-farm.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | regexFind "^.*[A-Za-z0-9]" }}
app.kubernetes.io/name: cocoon-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: cocoon
{{- end }}

{{- define "cocoon-farm.serviceAccountName" -}}
{{- default (include "cocoon-farm.fullname" .) .Values.serviceAccount.name }}
{{- end }}

{{- /* The namespaces that are watched, as a JSON list; empty: all. */}}
{{- define "cocoon-farm.watchedNamespaces" -}}
{{- concat .Values.watchNamespaces (compact (list .Values.watchNamespace)) | uniq | toJson }}
{{- end }}

{{- /* A released chart names the images that were made with it. */}}
{{- define "cocoon-farm.operatorImage" -}}
{{- coalesce .Values.images.operator (index .Chart.Annotations "cocoon.farm/operator-image") (printf "cocoon.local/operator:%s" .Chart.AppVersion) }}
{{- end }}

{{- define "cocoon-farm.agentImage" -}}
{{- coalesce .Values.images.agent (index .Chart.Annotations "cocoon.farm/gpu-agent-image") (printf "cocoon.local/gpu-agent:%s" .Chart.AppVersion) }}
{{- end }}

{{- /* The URL of an endpoint, which is that alone or has a key as well. */}}
{{- define "cocoon-farm.endpointUrl" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ .url }}{{ end }}
{{- end }}

{{- /* Folder with the endpoints' API keys. */}}
{{- define "cocoon-farm.apiKeyFolder" -}}
/etc/cocoon-api-keys
{{- end }}

{{- /* The networks file: endpoints with a key name its file, and never the key. */}}
{{- define "cocoon-farm.networks" -}}
{{- $networks := list }}
{{- range $network := .Values.ton.networks }}
{{- $endpoints := list }}
{{- range $index, $endpoint := $network.endpoints }}
{{- if kindIs "string" $endpoint }}
{{- $endpoints = append $endpoints $endpoint }}
{{- else }}
{{- $file := printf "%s/%s/%d" (include "cocoon-farm.apiKeyFolder" $) $network.name $index }}
{{- $endpoints = append $endpoints (dict "url" $endpoint.url "apiKeyFile" $file) }}
{{- end }}
{{- end }}
{{- $networks = append $networks (dict "name" $network.name "globalId" (int $network.globalId) "endpoints" $endpoints) }}
{{- end }}
{{- dict "networks" $networks | toYaml }}
{{- end }}

{{- /* Sources of the volume with the API keys, each in the file that the networks file names, as a JSON list. */}}
{{- define "cocoon-farm.apiKeySources" -}}
{{- $sources := list }}
{{- range $network := .Values.ton.networks }}
{{- range $index, $endpoint := $network.endpoints }}
{{- if kindIs "map" $endpoint }}
{{- $item := dict "key" $endpoint.apiKeySecretRef.key "path" (printf "%s/%d" $network.name $index) }}
{{- $sources = append $sources (dict "secret" (dict "name" $endpoint.apiKeySecretRef.name "items" (list $item))) }}
{{- end }}
{{- end }}
{{- end }}
{{- $sources | toJson }}
{{- end }}

{{- /* The ports of all endpoints, each once, as a JSON list. */}}
{{- define "cocoon-farm.tonPorts" -}}
{{- $ports := list }}
{{- range .Values.ton.networks }}
{{- range .endpoints }}
{{- $url := urlParse (include "cocoon-farm.endpointUrl" .) }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" }}
{{- $ports = append $ports (int (default (ternary "443" "80" (eq $url.scheme "https")) $port)) }}
{{- end }}
{{- end }}
{{- $ports | uniq | toJson }}
{{- end }}
