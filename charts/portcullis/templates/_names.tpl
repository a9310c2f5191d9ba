{{/* Names and labels, in one place. Kubernetes cuts names at 63 characters; the parts that are added need 24 of them. */}}

{{- define "portcullis.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 39 | trimSuffix "-" -}}
{{- end -}}

{{- define "portcullis.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 39 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 39 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 39 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "portcullis.proxy" -}}
{{- printf "%s-%s" (include "portcullis.fullname" .) .Values.controller.name -}}
{{- end -}}

{{- define "portcullis.controller" -}}
{{- printf "%s-%s" (include "portcullis.fullname" .) .Values.controlPlane.name -}}
{{- end -}}

{{/* The Secret that proxies mount. The controllers' is named alike, with `-controller` at its end. */}}
{{- define "portcullis.linkSecret" -}}
{{- printf "%s-link" (include "portcullis.fullname" .) -}}
{{- end -}}

{{- define "portcullis.lease" -}}
{{- default (printf "%s-leader" (include "portcullis.fullname" .)) .Values.controller.electionID -}}
{{- end -}}

{{- define "portcullis.controllerServiceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "portcullis.controller" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.proxyServiceAccount" -}}
{{- if .Values.proxyServiceAccount.create -}}
{{- default (include "portcullis.proxy" .) .Values.proxyServiceAccount.name -}}
{{- else -}}
{{- default "default" .Values.proxyServiceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change: selectors are made of them. */}}
{{- define "portcullis.selector" -}}
app.kubernetes.io/name: {{ include "portcullis.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "portcullis.labels" -}}
{{ include "portcullis.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: {{ include "portcullis.name" .root }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- with .more }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Without the versions of chart and command: pods are replaced when something of theirs changes. */}}
{{- define "portcullis.podLabels" -}}
{{ include "portcullis.selector" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- with .more }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* name, namespace, labels and annotations of an object. */}}
{{- define "portcullis.metadata" -}}
name: {{ .name }}
{{- if not .cluster }}
namespace: {{ default (include "portcullis.namespace" .root) .namespace }}
{{- end }}
labels:
  {{- include "portcullis.labels" . | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "portcullis.image" -}}
{{- $image := .Values.controller.image -}}
{{- $registry := $image.registry | default .Values.global.image.registry | default "portcullis.dev" -}}
{{- $repository := $image.repository | default (printf "%s/%s" $registry $image.image) -}}
{{- $tag := $image.tag | default .Chart.AppVersion -}}
{{- if $image.digest -}}
{{- printf "%s:%s@%s" $repository $tag $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository $tag -}}
{{- end -}}
{{- end -}}

{{/* Namespaces that are watched, separated by commas; empty are all. */}}
{{- define "portcullis.watched" -}}
{{- if .Values.controller.scope.enabled -}}
{{- default (include "portcullis.namespace" .) .Values.controller.scope.namespace -}}
{{- end -}}
{{- end -}}
