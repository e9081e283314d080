{{/*
One component with everything that belongs to it: Deployment, service account, disruption budget, autoscaler, network policy, metrics service.
(dict "root" $ "key" "poolScheduler" "service" "pool-scheduler" "env" "more variables, as YAML" "args" (list ...) "ports" "more ports, as YAML" "api" true)
`api`: it talks to the API server of the cluster.
*/}}
{{- define "heddle.component" -}}
{{- $root := .root -}}
{{- $values := include "heddle.componentValues" . | fromYaml -}}
{{- $auth := include "heddle.natsAuth" (dict "root" $root "own" $values.natsAuth) | fromYaml -}}
{{- $name := printf "%s-%s" (include "heddle.fullname" $root) .service -}}
{{- $namespace := include "heddle.namespace" $root -}}
{{- $selector := printf "%s\napp.kubernetes.io/component: %s" (include "heddle.selectorLabels" $root) .service -}}
{{- $labels := printf "%s\napp.kubernetes.io/component: %s" (include "heddle.labels" $root) .service -}}
{{- $account := include "heddle.serviceAccountName" . -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  namespace: {{ $namespace }}
  labels:
    {{- $labels | nindent 4 }}
  {{- with include "heddle.annotations" (dict "root" $root "own" $values.annotations) }}{{ . | trim | nindent 2 }}{{ end }}
spec:
  {{- if not (or $values.hpa.enabled $values.keda.enabled) }}
  replicas: {{ int $values.replicas }}
  {{- end }}
  revisionHistoryLimit: {{ int $values.revisionHistoryLimit }}
  {{- with $values.strategy }}
  strategy:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  selector:
    matchLabels:
      {{- $selector | nindent 6 }}
  template:
    metadata:
      labels:
        {{- $labels | nindent 8 }}
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        kubectl.kubernetes.io/default-container: {{ .service }}
        {{- with merge (dict) $values.podAnnotations $root.Values.commonAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ $account }}
      automountServiceAccountToken: {{ .api }}
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ int $values.terminationGracePeriodSeconds }}
      {{- with $values.podSecurityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with include "heddle.imagePullSecrets" $root }}{{ . | trim | nindent 6 }}{{ end }}
      {{- with $values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      containers:
        - name: {{ .service }}
          image: {{ include "heddle.image" $root | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          # The member's name is the pod's: a container that is started again takes over from itself at once.
          args:
            - serve
            - {{ .service }}
            - --member=$(POD_NAME)
            {{- range concat (default list .args) $values.extraArgs }}
            - {{ . | quote }}
            {{- end }}
          env:
            - name: POD_NAME
              valueFrom:
                fieldRef:
                  fieldPath: metadata.name
            {{- include "heddle.env" (dict "root" $root "auth" $auth) | nindent 12 }}
            - name: HEDDLE_REPLICAS
              value: {{ int $root.Values.nats.streamReplicas | quote }}
            - name: HEDDLE_LOGS_BYTES_MAX
              value: {{ int64 $root.Values.nats.logsBytesMax | quote }}
            - name: HEDDLE_LOG_LEVEL
              value: {{ $root.Values.config.logLevel }}
            - name: HEDDLE_STATUS_HOST
              value: "0.0.0.0"
            - name: HEDDLE_STATUS_PORT
              value: {{ int $root.Values.statusPort | quote }}
            {{- with $root.Values.config.plugins }}
            - name: HEDDLE_PLUGINS
              value: {{ join "," . | quote }}
            {{- end }}
            {{- with $root.Values.config.pluginConfig }}
            - name: HEDDLE_PLUGIN_CONFIG
              value: {{ toJson . | quote }}
            {{- end }}
            {{- with .env }}
            {{- . | trim | nindent 12 }}
            {{- end }}
            {{- with $values.extraEnv }}
            {{- tpl (toYaml .) $root | nindent 12 }}
            {{- end }}
          {{- with $values.extraEnvFrom }}
          envFrom:
            {{- tpl (toYaml .) $root | nindent 12 }}
          {{- end }}
          ports:
            - name: status
              containerPort: {{ int $root.Values.statusPort }}
            {{- with .ports }}
            {{- . | trim | nindent 12 }}
            {{- end }}
          {{- range $probe, $path := dict "startupProbe" "/livez" "readinessProbe" "/readyz" "livenessProbe" "/livez" }}
          {{- with index $values $probe }}
          {{- if .enabled }}
          {{ $probe }}:
            httpGet:
              path: {{ $path }}
              port: status
            {{- with .initialDelaySeconds }}
            initialDelaySeconds: {{ int . }}
            {{- end }}
            periodSeconds: {{ int .periodSeconds }}
            timeoutSeconds: {{ int .timeoutSeconds }}
            failureThreshold: {{ int .failureThreshold }}
          {{- end }}
          {{- end }}
          {{- end }}
          {{- with $values.preStopSleepSeconds }}
          lifecycle:
            preStop:
              sleep:
                seconds: {{ int . }}
          {{- end }}
          {{- with $values.resources }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- with $values.securityContext }}
          securityContext:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          volumeMounts:
            {{- include "heddle.volumeMounts" (dict "root" $root "auth" $auth) | nindent 12 }}
            {{- with $values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
        {{- with $values.extraContainers }}
        {{- tpl (toYaml .) $root | nindent 8 }}
        {{- end }}
      volumes:
        {{- include "heddle.volumes" (dict "root" $root "auth" $auth) | nindent 8 }}
        {{- with $values.extraVolumes }}
        {{- tpl (toYaml .) $root | nindent 8 }}
        {{- end }}
      {{- with $values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.affinity }}
      affinity:
        {{- tpl (toYaml .) $root | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if $values.topologySpread.constraints }}
      topologySpreadConstraints:
        {{- toYaml $values.topologySpread.constraints | nindent 8 }}
      {{- else if $values.topologySpread.enabled }}
      topologySpreadConstraints:
        {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: {{ $values.topologySpread.whenUnsatisfiable }}
          labelSelector:
            matchLabels:
              {{- $selector | nindent 14 }}
          # of one version: pods that a roll-out replaces do not count
          matchLabelKeys: [pod-template-hash]
        {{- end }}
      {{- end }}
{{- if $values.serviceAccount.create }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $account }}
  namespace: {{ $namespace }}
  labels:
    {{- $labels | nindent 4 }}
  {{- with include "heddle.annotations" (dict "root" $root "own" $values.serviceAccount.annotations) }}{{ . | trim | nindent 2 }}{{ end }}
automountServiceAccountToken: false
{{- end }}
{{- if $values.pdb.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $name }}
  namespace: {{ $namespace }}
  labels:
    {{- $labels | nindent 4 }}
  {{- with include "heddle.annotations" (dict "root" $root) }}{{ . | trim | nindent 2 }}{{ end }}
spec:
  {{- if kindIs "string" $values.pdb.maxUnavailable }}
  maxUnavailable: {{ $values.pdb.maxUnavailable | quote }}
  {{- else }}
  maxUnavailable: {{ int $values.pdb.maxUnavailable }}
  {{- end }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- $selector | nindent 6 }}
{{- end }}
{{- with $values.hpa }}
{{- if .enabled }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ $name }}
  namespace: {{ $namespace }}
  labels:
    {{- $labels | nindent 4 }}
  {{- with include "heddle.annotations" (dict "root" $root) }}{{ . | trim | nindent 2 }}{{ end }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ $name }}
  minReplicas: {{ int .minReplicas }}
  maxReplicas: {{ int .maxReplicas }}
  metrics:
    {{- if .metrics }}
    {{- toYaml .metrics | nindent 4 }}
    {{- else }}
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ int .targetCPU }}
    {{- end }}
  {{- with .behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- with $values.keda }}
{{- if .enabled }}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ $name }}
  namespace: {{ $namespace }}
  labels:
    {{- $labels | nindent 4 }}
  {{- with include "heddle.annotations" (dict "root" $root) }}{{ . | trim | nindent 2 }}{{ end }}
spec:
  scaleTargetRef:
    name: {{ $name }}
  minReplicaCount: {{ int .minReplicas }}
  maxReplicaCount: {{ int .maxReplicas }}
  pollingInterval: {{ int .pollingInterval }}
  cooldownPeriod: {{ int .cooldownPeriod }}
  {{- with .advanced }}
  advanced:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  triggers:
    {{- tpl (toYaml .triggers) $root | nindent 4 }}
{{- end }}
{{- end }}
{{- with $root.Values.networkPolicy }}
{{- if .enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ $name }}
  namespace: {{ $namespace }}
  labels:
    {{- $labels | nindent 4 }}
  {{- with include "heddle.annotations" (dict "root" $root) }}{{ . | trim | nindent 2 }}{{ end }}
spec:
  podSelector:
    matchLabels:
      {{- $selector | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    # probes and metrics
    - ports:
        - port: status
          protocol: TCP
      {{- with .metricsFrom }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- if eq $.service "gateway" }}
    - ports:
        - port: http
          protocol: TCP
      {{- with .gatewayFrom }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
  egress:
    # names
    - ports:
        - port: 53
          protocol: UDP
        - port: 53
          protocol: TCP
    # NATS
    - ports:
        {{- range include "heddle.natsPorts" $root | fromJsonArray }}
        - port: {{ int . }}
          protocol: TCP
        {{- end }}
      {{- with .natsTo }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- with $root.Values.nats.monitorUrl }}
    # what the server says of its durability
    - ports:
        - port: {{ default "8222" (trimPrefix ":" (regexFind ":[0-9]+" (trimPrefix "https:" (trimPrefix "http:" .)))) | int }}
          protocol: TCP
    {{- end }}
    {{- if $.api }}
    # the API server of the cluster
    - ports:
        {{- range .apiServerPorts }}
        - port: {{ int . }}
          protocol: TCP
        {{- end }}
      {{- with .apiServerTo }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
    {{- with $values.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}
{{- with $root.Values.monitoring.serviceMonitor }}
{{- if .enabled }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}-metrics
  namespace: {{ $namespace }}
  labels:
    {{- $labels | nindent 4 }}
    heddle.dev/metrics: "true"
  {{- with include "heddle.annotations" (dict "root" $root) }}{{ . | trim | nindent 2 }}{{ end }}
spec:
  clusterIP: None
  # also while it is not ready
  publishNotReadyAddresses: true
  ports:
    - name: status
      port: {{ int $root.Values.statusPort }}
      targetPort: status
  selector:
    {{- $selector | nindent 4 }}
{{- end }}
{{- end }}
{{- end -}}
