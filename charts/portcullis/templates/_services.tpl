{{/* Services of the proxies. */}}

{{- define "portcullis.hasExternalService" -}}
{{- if and .Values.controller.service.enabled .Values.controller.service.external.enabled -}}true{{- end -}}
{{- end -}}

{{- define "portcullis.hasInternalService" -}}
{{- if and .Values.controller.service.enabled .Values.controller.service.internal.enabled -}}true{{- end -}}
{{- end -}}

{{/* The Service whose address Ingresses show, as namespace/name. */}}
{{- define "portcullis.publishService" -}}
{{- $publish := .Values.controller.publishService -}}
{{- if $publish.enabled -}}
{{- if $publish.pathOverride -}}
{{- tpl $publish.pathOverride . -}}
{{- else if include "portcullis.hasExternalService" . -}}
{{- printf "%s/%s" (include "portcullis.namespace" .) (include "portcullis.proxy" .) -}}
{{- else if include "portcullis.hasInternalService" . -}}
{{- printf "%s/%s-internal" (include "portcullis.namespace" .) (include "portcullis.proxy" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Without a Service in front Ingresses show the nodes that proxies run on: these labels are those of their pods. */}}
{{- define "portcullis.proxySelector" -}}
{{- $onNodes := or .Values.controller.hostNetwork .Values.controller.hostPort.enabled -}}
{{- if and $onNodes (not (include "portcullis.publishService" .)) -}}
app.kubernetes.io/name={{ include "portcullis.name" . }},app.kubernetes.io/instance={{ .Release.Name }},app.kubernetes.io/component=proxy
{{- end -}}
{{- end -}}

{{- define "portcullis.proxyServiceSpec" -}}
{{- $service := .service -}}
{{- $outer := .root.Values.controller.service -}}
{{- $type := $service.type | default $outer.type -}}
type: {{ $type }}
{{- range $key := list "clusterIP" "sessionAffinity" "trafficDistribution" "ipFamilyPolicy" }}
{{- with get $service $key }}
{{ $key }}: {{ . }}
{{- end }}
{{- end }}
{{- range $key := list "clusterIPs" "externalIPs" "ipFamilies" }}
{{- with get $service $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- if ne $type "ClusterIP" }}
{{- with $service.externalTrafficPolicy }}
externalTrafficPolicy: {{ . }}
{{- end }}
{{- end }}
{{- if eq $type "LoadBalancer" }}
{{- range $key := list "loadBalancerIP" "loadBalancerClass" }}
{{- with get $service $key }}
{{ $key }}: {{ . | quote }}
{{- end }}
{{- end }}
{{- with $service.loadBalancerSourceRanges }}
loadBalancerSourceRanges:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if kindIs "bool" $service.allocateLoadBalancerNodePorts }}
allocateLoadBalancerNodePorts: {{ $service.allocateLoadBalancerNodePorts }}
{{- end }}
{{- with $service.healthCheckNodePort }}
healthCheckNodePort: {{ . }}
{{- end }}
{{- end }}
ports:
{{- range $name := list "http" "https" }}
{{- if get $outer (printf "enable%s" (title $name)) }}
  - name: {{ $name }}
    port: {{ get $service.ports $name | default (get $outer.ports $name) }}
    protocol: TCP
    targetPort: {{ get $service.targetPorts $name | default (get $outer.targetPorts $name) }}
    {{- if $service.appProtocol }}
    appProtocol: {{ $name }}
    {{- end }}
    {{- if ne $type "ClusterIP" }}
    {{- with get $service.nodePorts $name }}
    nodePort: {{ . }}
    {{- end }}
    {{- end }}
{{- end }}
{{- end }}
selector:
  {{- include "portcullis.selector" (dict "root" .root "component" "proxy") | nindent 2 }}
{{- end -}}
