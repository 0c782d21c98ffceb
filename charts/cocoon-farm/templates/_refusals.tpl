{{- /* What cannot be installed as it was asked for, in the words of whoever asked. The schema refuses what one value tells alone. */}}
{{- define "cocoon-farm.refuse" -}}
{{- $own := include "cocoon-farm.labels" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/component" "operator" }}
{{- $labels := "the chart sets it itself, and Service, policies and agents find the operator by it: use another key" }}
{{- include "cocoon-farm.refuseKeys" (dict "field" "podLabels" "given" .Values.podLabels "own" $own "why" $labels) }}
{{- $_ := unset $own "app.kubernetes.io/component" }}
{{- range $object, $values := .Values.metrics }}
{{- $field := printf "metrics.%s.labels" $object }}
{{- include "cocoon-farm.refuseKeys" (dict "field" $field "given" $values.labels "own" $own "why" "the chart sets it itself: use another key") }}
{{- end }}
{{- $restarts := "the chart sets it itself, so that a change of the networks starts new pods: use another key" }}
{{- include "cocoon-farm.refuseKeys" (dict "field" "podAnnotations" "given" .Values.podAnnotations "own" (dict "checksum/networks" "") "why" $restarts) }}
{{- include "cocoon-farm.refuseEndpoints" . }}
{{- include "cocoon-farm.refuseForeign" . }}
{{- end }}

{{- define "cocoon-farm.refuseKeys" -}}
{{- range $key, $_ := .given }}
{{- if hasKey $.own $key }}
{{- fail (printf "%s: %s collides: %s" $.field $key $.why) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The operator refuses these as well, but only once it runs. */}}
{{- define "cocoon-farm.refuseEndpoints" -}}
{{- $names := list }}
{{- range $network := .Values.ton.networks }}
{{- if has $network.name $names }}
{{- fail (printf "ton.networks: %s is named twice: give one entry with all its endpoints" $network.name) }}
{{- end }}
{{- $names = append $names $network.name }}
{{- $urls := list }}
{{- range $index, $endpoint := $network.endpoints }}
{{- $url := include "cocoon-farm.endpointUrl" $endpoint | trimSuffix "/" | trimSuffix "/jsonRPC" | lower }}
{{- if has $url $urls }}
{{- fail (printf "ton.networks: %s: endpoint %d is named twice: it would outvote the others" $network.name $index) }}
{{- end }}
{{- $urls = append $urls $url }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What exists once in a cluster and belongs to another release. Only an installation can look: a rendering sees no cluster. */}}
{{- define "cocoon-farm.refuseForeign" -}}
{{- $wanted := list }}
{{- if .Values.crds.install }}
{{- range list "cocoonproviders" "inferencejobs" "paymentchannels" "settlements" }}
{{- $wanted = append $wanted (list "apiextensions.k8s.io/v1" "CustomResourceDefinition" (printf "%s.cocoon.farm" .) "crds.install=false") }}
{{- end }}
{{- end }}
{{- if .Values.rbac.userRoles }}
{{- range list "cocoon-payer" "cocoon-payer-data" "cocoon-farm" }}
{{- $wanted = append $wanted (list "rbac.authorization.k8s.io/v1" "ClusterRole" . "rbac.userRoles=false") }}
{{- end }}
{{- end }}
{{- range $wanted }}
{{- $object := lookup (index . 0) (index . 1) "" (index . 2) }}
{{- if $object }}
{{- $annotations := default dict $object.metadata.annotations }}
{{- $name := default "" (index $annotations "meta.helm.sh/release-name") }}
{{- $namespace := default "" (index $annotations "meta.helm.sh/release-namespace") }}
{{- if or (ne $name $.Release.Name) (ne $namespace $.Release.Namespace) }}
{{- $whose := ternary (printf "belongs to release %s in namespace %s" $name $namespace) "belongs to no release" (ne $name "") }}
{{- fail (printf "%s %s is there and %s. A cluster has it once: install with --set %s, or see \"Twice in a cluster\" in the chart's README to take it over" (index . 1) (index . 2) $whose (index . 3)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
