{{/* The controller's rights, by where they are needed. */}}

{{/* In every namespace that is watched. */}}
{{- define "portcullis.rulesOfObjects" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [update]
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- define "portcullis.rulesOfSecrets" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [list, watch]
{{- end -}}

{{- define "portcullis.rulesOfClasses" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses]
  verbs: [list, watch]
{{- end -}}

{{- define "portcullis.ruleOfPublished" -}}
- apiGroups: [""]
  resources: [services]
  resourceNames: [{{ .name }}]
  verbs: [list, watch]
{{- end -}}

{{/* Whose addresses Ingresses show, where no Service stands in front. */}}
{{- define "portcullis.rulesOfNodes" -}}
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
{{- end -}}

{{/* In the controller's own namespace: its pods, its Lease, its certificates. */}}
{{- define "portcullis.rulesAtHome" -}}
- apiGroups: [""]
  resources: [pods]
  verbs: {{ include "portcullis.proxySelector" . | empty | ternary "[get, list]" "[get, list, watch]" }}
- apiGroups: [""]
  resources: [secrets]
  resourceNames:
    - {{ include "portcullis.linkSecret" . }}
    - {{ include "portcullis.linkSecret" . }}-controller
  verbs: [list, watch, update]
{{- if not .Values.controller.disableLeaderElection }}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "portcullis.lease" . }}]
  verbs: [get, update]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
{{- end }}
{{- end -}}

{{/* A Role or ClusterRole and its binding to the controller. */}}
{{- define "portcullis.grant" -}}
{{- $kind := ternary "ClusterRole" "Role" (default false .cluster) -}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  {{- include "portcullis.metadata" . | nindent 2 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  {{- include "portcullis.metadata" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "portcullis.controllerServiceAccount" .root }}
    namespace: {{ include "portcullis.namespace" .root }}
{{ end -}}
