{{/* Values that would install something else than what they say. Each is refused with a sentence. */}}

{{- define "portcullis.refusals" -}}
{{- $image := include "portcullis.image" . -}}
{{- if regexMatch "ingress-nginx|^registry[.]k8s[.]io/|^k8s[.]gcr[.]io/" $image -}}
{{- fail (printf "\n\ncontroller.image is %s, which is ingress-nginx and not Portcullis: remove registry, image, repository, tag and digest from controller.image and global.image, or name a copy of portcullis.dev/portcullis.\n" $image) -}}
{{- end -}}
{{- if and (hasPrefix "portcullis.dev/" $image) (regexMatch "^v[0-9]" .Values.controller.image.tag) -}}
{{- fail (printf "\n\ncontroller.image.tag is %s, a version of ingress-nginx and not of Portcullis: remove it to get %s.\n" .Values.controller.image.tag .Chart.AppVersion) -}}
{{- end -}}
{{- if eq (include "portcullis.proxy" .) (include "portcullis.controller" .) -}}
{{- fail (printf "\n\ncontroller.name and controlPlane.name are both %s, but name two workloads: give one another name.\n" .Values.controller.name) -}}
{{- end -}}
{{- if and .Values.proxyServiceAccount.create (eq (include "portcullis.proxyServiceAccount" .) (include "portcullis.controllerServiceAccount" .)) -}}
{{- fail (printf "\n\nserviceAccount.name and proxyServiceAccount.name are both %s: the proxies would have the controller's rights. Give one another name.\n" .Values.serviceAccount.name) -}}
{{- end -}}
{{- if and .Values.rbac.scope (not .Values.controller.scope.enabled) -}}
{{- fail "\n\nrbac.scope does without ClusterRoles, which is enough for one namespace only: set controller.scope.enabled too.\n" -}}
{{- end -}}
{{- with .Values.controller.scope.namespaceSelector -}}
{{- fail (printf "\n\ncontroller.scope.namespaceSelector is %v, and namespaces cannot be selected by label yet, so more would be served than you ask for: list them in controller.scope.namespace, separated by commas.\n" .) -}}
{{- end -}}
{{- if eq .Values.controller.unsupported "deny" -}}
{{- range $key := list "block-cidrs" "block-referers" "block-user-agents" "denylist-source-range" "enable-modsecurity" "global-auth-url" "ssl-reject-handshake" "use-proxy-protocol" "whitelist-source-range" -}}
{{- $value := toString (get $.Values.controller.config $key) -}}
{{- if not (has $value (list "" "false")) -}}
{{- fail (printf "\n\ncontroller.config.%s is %s, which is not supported yet, and without it more would be let in than you ask for: remove it, or accept that with controller.unsupported=serve.\n" $key $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
