{{/* What the pods of both workloads have in common. */}}

{{- define "portcullis.httpPort" -}}
{{- .Values.controller.containerPort.http | default (ternary 80 8080 .Values.controller.hostNetwork) -}}
{{- end -}}

{{- define "portcullis.httpsPort" -}}
{{- .Values.controller.containerPort.https | default (ternary 443 8443 .Values.controller.hostNetwork) -}}
{{- end -}}

{{/* Not empty when proxies listen on a port that only root may open. */}}
{{- define "portcullis.lowPorts" -}}
{{- if or (lt (include "portcullis.httpPort" . | int) 1024) (lt (include "portcullis.httpsPort" . | int) 1024) -}}
true
{{- end -}}
{{- end -}}

{{- define "portcullis.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "portcullis.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Within a pod's network namespace ports below 1024 are opened to everybody; on the host's they need root. */}}
{{- define "portcullis.proxyPodSecurityContext" -}}
{{- $context := include "portcullis.podSecurityContext" . | fromYaml -}}
{{- $sysctls := list -}}
{{- range $name, $value := .Values.controller.sysctls -}}
{{- $sysctls = append $sysctls (dict "name" $name "value" (toString $value)) -}}
{{- end -}}
{{- if include "portcullis.lowPorts" . -}}
{{- if .Values.controller.hostNetwork -}}
{{- $context = mergeOverwrite $context (dict "runAsNonRoot" false "runAsUser" 0 "runAsGroup" 0) -}}
{{- else if not (hasKey .Values.controller.sysctls "net.ipv4.ip_unprivileged_port_start") -}}
{{- $sysctls = append $sysctls (dict "name" "net.ipv4.ip_unprivileged_port_start" "value" "0") -}}
{{- end -}}
{{- end -}}
{{- if $sysctls -}}
{{- $_ := set $context "sysctls" $sysctls -}}
{{- end -}}
{{- mergeOverwrite $context .Values.controller.podSecurityContext | toYaml -}}
{{- end -}}

{{- define "portcullis.proxySecurityContext" -}}
{{- $context := include "portcullis.securityContext" . | fromYaml -}}
{{- if and .Values.controller.hostNetwork (include "portcullis.lowPorts" .) -}}
{{- $context = mergeOverwrite $context (dict "runAsNonRoot" false) -}}
{{- $_ := set $context.capabilities "add" (list "NET_BIND_SERVICE") -}}
{{- end -}}
{{- mergeOverwrite $context .Values.controller.containerSecurityContext | toYaml -}}
{{- end -}}

{{/* Over hosts first, then over zones; a cluster with one of either is no obstacle. */}}
{{- define "portcullis.spread" -}}
{{- if .given -}}
{{- tpl (toYaml .given) .root -}}
{{- else -}}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "portcullis.selector" $ | nindent 6 }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* `--name=value` per entry, the name alone where the value is empty. */}}
{{- define "portcullis.extraArgs" -}}
{{- range $name, $value := . }}
- {{ (eq (toString $value) "") | ternary (printf "--%s" $name) (printf "--%s=%v" $name $value) | quote }}
{{- end }}
{{- end -}}

{{- define "portcullis.probe" -}}
httpGet:
  path: {{ .path }}
  port: metrics
{{ omit .given "httpGet" | toYaml }}
{{- end -}}

{{/* ingress-nginx's default hook is a program of its image: it becomes the sleep that it stands for. */}}
{{- define "portcullis.lifecycle" -}}
{{- $given := .Values.controller.lifecycle -}}
{{- if and $given (not (contains "/wait-shutdown" (toJson $given))) -}}
{{- toYaml $given -}}
{{- else if gt (int .Values.controller.preStopSleepSeconds) 0 -}}
preStop:
  sleep:
    seconds: {{ .Values.controller.preStopSleepSeconds }}
{{- end -}}
{{- end -}}

{{/* Requests in flight get what is left after the sleep, and a margin for the end itself. */}}
{{- define "portcullis.drainSeconds" -}}
{{- max 1 (sub (sub (.Values.controller.terminationGracePeriodSeconds | int) (.Values.controller.preStopSleepSeconds | int)) 10) -}}
{{- end -}}
