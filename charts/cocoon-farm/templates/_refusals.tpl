{{- /* What cannot be installed as it was asked for, in the words of whoever asked. The schema refuses what one value tells alone. */}}
{{- define "cocoon-farm.refuse" -}}
{{- $own := include "cocoon-farm.labels" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/component" "operator" }}
{{- $_ := set $own "pod-template-hash" "the Deployment's" }}
{{- $labels := "the chart or its Deployment sets it, and Service, policies and agents find the operator by such labels: use another key" }}
{{- include "cocoon-farm.refuseKeys" (dict "field" "podLabels" "given" .Values.podLabels "own" $own "why" $labels) }}
{{- $_ := unset $own "app.kubernetes.io/component" }}
{{- $_ := unset $own "pod-template-hash" }}
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
{{- $url := include "cocoon-farm.endpointUrl" $endpoint }}
{{- $scheme := regexFind "^https?" $url }}
{{- $authority := regexReplaceAll "^https?://([^/]*).*$" $url "${1}" | lower }}
{{- $port := regexFind ":[0-9]+$" $authority | trimPrefix ":" }}
{{- $host := regexReplaceAll ":[0-9]+$" $authority "" }}
{{- $where := printf "ton.networks: %s: endpoint %d" $network.name $index }}
{{- if and $port (or (lt (int $port) 1) (gt (int $port) 65535)) }}
{{- fail (printf "%s: %s is no port: give one from 1 to 65535" $where $port) }}
{{- end }}
{{- $isAddress := or (hasPrefix "[" $host) (regexMatch "(^|[.])[0-9]+$" $host) }}
{{- if and $isAddress (not (include "cocoon-farm.isIp" $host)) }}
{{- fail (printf "%s: %s is no IP address: correct it, or give a host's name" $where $host) }}
{{- end }}
{{- if regexMatch "[.-][.]|[.]-" $host }}
{{- fail (printf "%s: %s is no name of a host: correct it" $where $host) }}
{{- end }}
{{- /* As the operator compares them: host and port, and the path without what the operator appends. */}}
{{- $port = default (ternary "443" "80" (eq $scheme "https")) $port }}
{{- $path := regexReplaceAll "^https?://[^/]*" $url "" | trimAll "/" | trimSuffix "jsonRPC" | trimSuffix "/" }}
{{- $url = printf "%s://%s:%s/%s" $scheme $host $port $path }}
{{- if has $url $urls }}
{{- fail (printf "ton.networks: %s: endpoint %d is named twice: it would outvote the others" $network.name $index) }}
{{- end }}
{{- $urls = append $urls $url }}
{{- end }}
{{- end }}
{{- end }}

{{- /* `true` for an IPv4 address, or an IPv6 address in brackets. */}}
{{- define "cocoon-farm.isIp" -}}
{{- $byte := "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])" }}
{{- $four := printf "%s([.]%s){3}" $byte $byte }}
{{- $group := "[0-9a-f]{1,4}" }}
{{- $some := printf "(%s(:%s){0,6})?" $group $group }}
{{- $six := printf "(%s(:%s){7}|%s::%s|::(ffff:)?%s)" $group $group $some $some $four }}
{{- if regexMatch (printf "^(%s|\\[%s\\])$" $four $six) . }}true{{ end }}
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
{{- range list "cocoon-payer" "cocoon-payer-data" "cocoon-offers" "cocoon-farm" }}
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
