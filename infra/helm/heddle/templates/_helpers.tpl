{{/* Names, labels, image, and the way to NATS: what more than one template needs. */}}

{{- define "heddle.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* A pod's name is its member's name, which has no dots. */}}
{{- define "heddle.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "heddle.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* What never changes in a release: of selectors. */}}
{{- define "heddle.selectorLabels" -}}
app.kubernetes.io/name: {{ include "heddle.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "heddle.labels" -}}
{{ include "heddle.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: heddle
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* `annotations:` of an object: commonAnnotations, and what is given beside them. (dict "root" $ "own" map) */}}
{{- define "heddle.annotations" -}}
{{- $all := merge (dict) (default (dict) .own) .root.Values.commonAnnotations -}}
{{- with $all }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "heddle.image" -}}
{{- $image := .Values.image -}}
{{- $registry := default $image.registry (default dict .Values.global).imageRegistry -}}
{{- $name := $image.repository -}}
{{- if $registry -}}{{- $name = printf "%s/%s" $registry $image.repository -}}{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "heddle.imagePullSecrets" -}}
{{- $all := concat (default list (default dict .Values.global).imagePullSecrets) .Values.imagePullSecrets -}}
{{- with $all }}
imagePullSecrets:
  {{- range . }}
  - {{ if kindIs "string" . }}name: {{ . }}{{ else }}{{ toYaml . | nindent 4 | trim }}{{ end }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* The identity of one process: nats.auth with what it says differently. (dict "root" $ "own" natsAuth) -> YAML */}}
{{- define "heddle.natsAuth" -}}
{{- mergeOverwrite (deepCopy .root.Values.nats.auth) (deepCopy (default (dict) .own)) | toYaml -}}
{{- end -}}

{{/* Variables of every process. (dict "root" $ "auth" auth) */}}
{{- define "heddle.env" -}}
{{- $nats := .root.Values.nats -}}
{{- $auth := .auth -}}
- name: HEDDLE_NATS_URL
  value: {{ $nats.url | quote }}
{{- if eq $auth.type "creds" }}
- name: HEDDLE_NATS_CREDS
  value: /etc/heddle/nats/nats.creds
{{- else if eq $auth.type "user" }}
- name: HEDDLE_NATS_USER
  valueFrom:
    secretKeyRef:
      name: {{ $auth.existingSecret }}
      key: {{ $auth.keys.user }}
- name: HEDDLE_NATS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ $auth.existingSecret }}
      key: {{ $auth.keys.password }}
{{- else if eq $auth.type "token" }}
- name: HEDDLE_NATS_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ $auth.existingSecret }}
      key: {{ $auth.keys.token }}
{{- end }}
{{- if $nats.tls.caSecret.name }}
- name: NODE_EXTRA_CA_CERTS
  value: /etc/heddle/nats-ca/ca.crt
{{- end }}
{{- with $nats.sync }}
- name: HEDDLE_NATS_SYNC
  value: {{ . | quote }}
{{- end }}
{{- with $nats.monitorUrl }}
- name: HEDDLE_NATS_MONITOR
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* What `heddle.env` reads files from. (dict "root" $ "auth" auth) */}}
{{- define "heddle.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if eq .auth.type "creds" }}
- name: nats-creds
  mountPath: /etc/heddle/nats
  readOnly: true
{{- end }}
{{- if .root.Values.nats.tls.caSecret.name }}
- name: nats-ca
  mountPath: /etc/heddle/nats-ca
  readOnly: true
{{- end }}
{{- end -}}

{{- define "heddle.volumes" -}}
- name: tmp
  emptyDir: {}
{{- if eq .auth.type "creds" }}
- name: nats-creds
  secret:
    secretName: {{ .auth.existingSecret }}
    # 0440, for the pod's group
    defaultMode: 288
    items:
      - key: {{ .auth.keys.creds }}
        path: nats.creds
{{- end }}
{{- with .root.Values.nats.tls.caSecret }}
{{- if .name }}
- name: nats-ca
  secret:
    secretName: {{ .name }}
    # 0444
    defaultMode: 292
    items:
      - key: {{ .key }}
        path: ca.crt
{{- end }}
{{- end }}
{{- end -}}

{{/* Ports that NATS is at: given, else those of the URLs. -> JSON list */}}
{{- define "heddle.natsPorts" -}}
{{- if .Values.nats.ports -}}
{{- toJson .Values.nats.ports -}}
{{- else -}}
{{- $ports := list -}}
{{- range splitList "," .Values.nats.url -}}
{{- $port := regexFind ":[0-9]+$" (. | trimSuffix "/") -}}
{{- $ports = append $ports (int (default "4222" (trimPrefix ":" $port))) -}}
{{- end -}}
{{- uniq $ports | toJson -}}
{{- end -}}
{{- end -}}

{{/* Namespaces whose pods are sandboxes. -> JSON list */}}
{{- define "heddle.poolNamespaces" -}}
{{- default (list (include "heddle.namespace" .)) .Values.kubernetes.poolNamespaces | toJson -}}
{{- end -}}

{{/* Values key -> service, as `heddle serve` names it. */}}
{{- define "heddle.components" -}}
{"coordinator":"coordinator","poolScheduler":"pool-scheduler","taskExecutor":"task-executor","failover":"failover"
{{- if .Values.gateway.enabled }},"gateway":"gateway"{{ end }}}
{{- end -}}

{{/* What holds for a component: common, and what it says differently. (dict "root" $ "key" "coordinator") -> YAML */}}
{{- define "heddle.componentValues" -}}
{{- mergeOverwrite (deepCopy .root.Values.common) (deepCopy (index .root.Values .key)) | toYaml -}}
{{- end -}}

{{/* (dict "root" $ "key" "coordinator" "service" "coordinator") */}}
{{- define "heddle.serviceAccountName" -}}
{{- $values := include "heddle.componentValues" . | fromYaml -}}
{{- $own := printf "%s-%s" (include "heddle.fullname" .root) .service -}}
{{- if $values.serviceAccount.create -}}
{{- default $own $values.serviceAccount.name -}}
{{- else -}}
{{- default "default" $values.serviceAccount.name -}}
{{- end -}}
{{- end -}}
