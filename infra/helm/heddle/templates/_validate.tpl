{{/* What a schema cannot say: values that do not go together. Every message names the value and what to do. */}}
{{- define "heddle.validate" -}}
{{- if not .Values.nats.url -}}
{{- fail "nats.url is required: where NATS is, such as nats://nats.nats:4222 (--set nats.url=...)" -}}
{{- end -}}
{{- if eq .Values.image.tag "latest" -}}
{{- fail "image.tag: latest may be another image on every node; name a version, or leave it empty for the chart's own" -}}
{{- end -}}
{{- if and .Values.nats.tls.caSecret.name (not (contains "tls://" .Values.nats.url)) -}}
{{- fail "nats.tls.caSecret is for tls:// URLs, and nats.url has none" -}}
{{- end -}}
{{- include "heddle.validateAuth" (dict "path" "nats.auth" "auth" .Values.nats.auth) -}}
{{- include "heddle.validateAuth" (dict "path" "tests.natsAuth" "auth" (include "heddle.natsAuth" (dict "root" . "own" .Values.tests.natsAuth) | fromYaml)) -}}
{{- range $key, $service := include "heddle.components" . | fromJson -}}
{{- $values := include "heddle.componentValues" (dict "root" $ "key" $key) | fromYaml -}}
{{- include "heddle.validateAuth" (dict "path" (printf "%s.natsAuth" $key) "auth" (include "heddle.natsAuth" (dict "root" $ "own" $values.natsAuth) | fromYaml)) -}}
{{- if and $values.hpa.enabled $values.keda.enabled -}}
{{- fail (printf "%s.hpa and %s.keda are both enabled: one of them says how many replicas there are" $key $key) -}}
{{- end -}}
{{- range $name := list "hpa" "keda" -}}
{{- $scale := index $values $name -}}
{{- if and $scale.enabled (gt (int $scale.minReplicas) (int $scale.maxReplicas)) -}}
{{- fail (printf "%s.%s.minReplicas is greater than maxReplicas" $key $name) -}}
{{- end -}}
{{- end -}}
{{- if and $values.keda.enabled (not $values.keda.triggers) -}}
{{- fail (printf "%s.keda.triggers is empty: KEDA needs at least one (README, \"Scaling\")" $key) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.gateway.ingress.enabled (not .Values.gateway.enabled) -}}
{{- fail "gateway.ingress.enabled without gateway.enabled: there is nothing behind it" -}}
{{- end -}}
{{- if and .Values.gateway.ingress.enabled (not .Values.gateway.ingress.hosts) -}}
{{- fail "gateway.ingress.hosts is empty: name at least one host" -}}
{{- end -}}
{{- if and (contains "webhook" (join "," .Values.config.alerts)) (not .Values.config.alertWebhook.name) -}}
{{- fail "config.alerts has webhook: config.alertWebhook.name must name the Secret with its URL" -}}
{{- end -}}
{{- include "heddle.validatePools" . -}}
{{- end -}}

{{- define "heddle.validateAuth" -}}
{{- if and (ne .auth.type "none") (not .auth.existingSecret) -}}
{{- fail (printf "%s.existingSecret is empty: with type %s it names the Secret that holds it" .path .auth.type) -}}
{{- end -}}
{{- if and (eq .auth.type "none") .auth.existingSecret -}}
{{- fail (printf "%s.type is none, so the Secret %s would not be used: say creds, user or token" .path .auth.existingSecret) -}}
{{- end -}}
{{- end -}}

{{- define "heddle.validatePools" -}}
{{- if or .Values.pools .Values.envs -}}
{{- if not (and .Values.kubernetes.enabled .Values.kubernetes.objects) -}}
{{- fail "pools and envs are objects: kubernetes.enabled and kubernetes.objects must be true, or nobody looks at them" -}}
{{- end -}}
{{- $known := include "heddle.poolNamespaces" . | fromJsonArray -}}
{{- $own := include "heddle.namespace" . -}}
{{- range $list := list "pools" "envs" -}}
{{- range $at, $one := index $.Values $list -}}
{{- $namespace := default $own $one.namespace -}}
{{- if not (or $.Values.kubernetes.clusterWide (has $namespace $known)) -}}
{{- fail (printf "%s[%d].namespace: %s is not one of kubernetes.poolNamespaces (%s): nobody has rights there" $list $at $namespace (join ", " $known)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not (.Capabilities.APIVersions.Has "heddle.dev/v1alpha1/SandboxPool") -}}
{{- /* Helm looks every kind up before it installs anything, so one release cannot bring a kind and objects of it. Without a cluster (helm template) nobody looks. */ -}}
{{- if lookup "v1" "ServiceAccount" .Release.Namespace "" -}}
{{- fail "pools, envs: the cluster does not know SandboxPool yet. Install without them first, then run the same with `helm upgrade`: --set-json 'pools=[]' --set-json 'envs=[]'" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
