{{/* A pod of `helm test`: a script with the command of the image. (dict "root" $ "name" "doctor" "weight" 0 "script" "...") */}}
{{- define "heddle.testPod" -}}
{{- $root := .root -}}
{{- $auth := include "heddle.natsAuth" (dict "root" $root "own" $root.Values.tests.natsAuth) | fromYaml -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ printf "%s-test-%s" (include "heddle.fullname" $root) .name }}
  namespace: {{ include "heddle.namespace" $root }}
  labels:
    {{- include "heddle.labels" $root | nindent 4 }}
    app.kubernetes.io/component: test
  {{- with include "heddle.annotations" (dict "root" $root "own" (dict "helm.sh/hook" "test" "helm.sh/hook-weight" (toString .weight) "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded")) }}{{ . | trim | nindent 2 }}{{ end }}
spec:
  restartPolicy: Never
  activeDeadlineSeconds: 300
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext:
    {{- toYaml $root.Values.common.podSecurityContext | nindent 4 }}
  {{- with include "heddle.imagePullSecrets" $root }}{{ . | trim | nindent 2 }}{{ end }}
  containers:
    - name: {{ .name }}
      image: {{ include "heddle.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      command: [/bin/sh, -eu, -c]
      args:
        - |
          {{- .script | trim | nindent 10 }}
      env:
        {{- include "heddle.env" (dict "root" $root "auth" $auth) | nindent 8 }}
        # services answer while they come up: asked again for so long
        - name: HEDDLE_TIMEOUT
          value: 30s
      {{- with $root.Values.tests.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml $root.Values.common.securityContext | nindent 8 }}
      volumeMounts:
        {{- include "heddle.volumeMounts" (dict "root" $root "auth" $auth) | nindent 8 }}
  volumes:
    {{- include "heddle.volumes" (dict "root" $root "auth" $auth) | nindent 4 }}
{{- end -}}

{{/* `namespace/name` of the pool that tests use; empty: they make one. */}}
{{- define "heddle.testPool" -}}
{{- if .Values.tests.pool -}}
{{- .Values.tests.pool -}}
{{- else if .Values.pools -}}
{{- $first := first .Values.pools -}}
{{- printf "%s/%s" (default (include "heddle.namespace" .) $first.namespace) $first.name -}}
{{- end -}}
{{- end -}}

{{/* Lines of a script: `pool` is the pool's name. One of its own has slots of the executor for sandboxes, and goes with the script. (dict "root" $ "name" "claim") */}}
{{- define "heddle.testPoolScript" -}}
{{- $given := include "heddle.testPool" .root -}}
{{- if $given -}}
pool={{ $given }}
{{- else -}}
pool={{ printf "%s/helm-test-%s" (.root.Release.Namespace) .name }}
trap 'heddle pools delete "$pool" --yes' EXIT
heddle pools apply "$pool" --provider inline --size 1
{{- end -}}
{{- end -}}
