{{/* What NOTES say about values. */}}

{{/* Paths of values that this chart does not know, one a line: typing errors, most likely. */}}
{{- define "portcullis.unknown" -}}
{{- range $key, $value := .values -}}
{{- $path := trimPrefix "." (printf "%s.%s" $.path $key) -}}
{{- $known := get $.known $key -}}
{{- if hasKey $.ignored $path -}}
{{- else if not (hasKey $.known $key) }}
{{ $path }}
{{- else if and (kindIs "map" $known) (kindIs "map" $value) -}}
{{- include "portcullis.unknown" (dict "values" $value "known" $known "ignored" $.ignored "path" $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* `path: reason` of values that are set and have no effect, one a line. */}}
{{- define "portcullis.ineffective" -}}
{{- range $path, $reason := .ignored -}}
{{- $value := $.values -}}
{{- range splitList "." $path -}}
{{- $value = kindIs "map" $value | ternary (get (kindIs "map" $value | ternary $value dict) .) "" -}}
{{- end -}}
{{- if $value }}
{{ $path }}: {{ $reason }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.defaultRules" -}}
- alert: PortcullisControllerMissing
  expr: absent(portcullis_controller_proxies)
  for: 5m
  labels:
    severity: critical
  annotations:
    summary: No controller of Portcullis is scraped. The proxies serve what they have, and learn nothing new.
- alert: PortcullisProxiesUnconnected
  expr: sum(portcullis_controller_proxies) == 0
  for: 5m
  labels:
    severity: critical
  annotations:
    summary: No proxy follows a controller.
- alert: PortcullisUnitsRefused
  expr: increase(portcullis_controller_refused_units_total[10m]) > 0
  labels:
    severity: warning
  annotations:
    summary: Proxies do not serve everything as asked. Their logs name what and why.
- alert: PortcullisErrorRatio
  expr: >-
    sum by (namespace, ingress) (rate(nginx_ingress_controller_requests{status=~"5.."}[5m]))
    / sum by (namespace, ingress) (rate(nginx_ingress_controller_requests[5m])) > 0.05
  for: 10m
  labels:
    severity: warning
  annotations:
    summary: {{ `More than 5 % of the requests of Ingress {{ $labels.namespace }}/{{ $labels.ingress }} fail.` | quote }}
{{- end -}}
