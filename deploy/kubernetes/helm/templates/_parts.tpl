{{/* What selects all pods of the run. */}}
{{- define "ulda.run" -}}
app.kubernetes.io/name: ulda
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ulda.labels" -}}
{{ include "ulda.run" .root }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "ulda.queue" -}}
{{- with .Values.queue }}
kueue.x-k8s.io/queue-name: {{ . }}
{{- end }}
{{- end }}

{{- define "ulda.checked" -}}
{{- if not (regexMatch "^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$" .Release.Name) }}
{{- fail (printf "release `%s` cannot name a run; hint: small letters, digits and `-`, at most 40 characters, beginning with a letter" .Release.Name) }}
{{- end }}
{{- if not (or .Values.runClaim (regexMatch `(?m)^[^#\n]*url[^#\n]*["']s3://` .Values.config)) }}
{{- fail "nothing keeps what the workers leave; hint: name a ReadWriteMany claim as runClaim, or object storage as storage.url of the run.toml" }}
{{- end }}
{{- end }}

{{- define "ulda.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.serviceAccount }}
serviceAccountName: {{ . }}
{{- end }}
{{- with .Values.pullSecret }}
imagePullSecrets:
- name: {{ . }}
{{- end }}
securityContext:
  fsGroup: {{ .Values.user }}
  fsGroupChangePolicy: OnRootMismatch
  runAsGroup: {{ .Values.user }}
  runAsNonRoot: true
  runAsUser: {{ .Values.user }}
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "ulda.containerSecurity" -}}
image: {{ .Values.image | quote }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities:
    drop: [ALL]
  readOnlyRootFilesystem: true
terminationMessagePolicy: FallbackToLogsOnError
{{- with .Values.s3.secret }}
envFrom:
- secretRef:
    name: {{ . }}
{{- end }}
{{- end }}

{{- define "ulda.env" -}}
- name: HOME
  value: /tmp
- name: ULDA_CREDENTIALS
  value: /etc/ulda/credentials
{{- end }}

{{- define "ulda.volumes" -}}
- name: tmp
  emptyDir: {}
{{- range $index, $data := .root.Values.data }}
- name: data-{{ $index }}
  persistentVolumeClaim:
    claimName: {{ $data.claim }}
    readOnly: true
{{- end }}
- name: credentials
  secret:
    defaultMode: 0440
    secretName: {{ .root.Release.Name }}-{{ .component }}-credentials
{{- end }}

{{- define "ulda.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- range $index, $data := .root.Values.data }}
- name: data-{{ $index }}
  mountPath: {{ $data.path }}
  readOnly: true
{{- end }}
- name: credentials
  mountPath: /etc/ulda/credentials
  readOnly: true
{{- end }}

{{/* Who may read what a pod shows: the namespace, and Prometheus. */}}
{{- define "ulda.readers" -}}
- podSelector:
    matchLabels: {}
{{- with .Values.monitoring.namespace }}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ . }}
{{- end }}
{{- end }}

{{/* Names, and object storage where it is used. */}}
{{- define "ulda.outside" -}}
- ports:
  - port: 53
    protocol: UDP
  - port: 53
    protocol: TCP
{{- if or .Values.s3.secret (not .Values.runClaim) (regexMatch `(?m)^[^#\n]*["']s3://` .Values.config) }}
- ports:
  {{- range .Values.s3.ports }}
  - port: {{ . }}
    protocol: TCP
  {{- end }}
{{- end }}
{{- end }}

{{/* The Job inside every kind of output; `container` is the name the output wants for it. */}}
{{- define "ulda.jobSpec" -}}
{{- $values := .root.Values }}
completions: {{ $values.workers.count }}
parallelism: {{ $values.workers.count }}
completionMode: Indexed
backoffLimitPerIndex: 10
maxFailedIndexes: {{ sub $values.workers.count 1 }}
podReplacementPolicy: Failed
podFailurePolicy:
  rules:
  - action: Ignore
    onPodConditions:
    - type: DisruptionTarget
      status: "True"
  - action: FailJob
    onExitCodes:
      containerName: {{ .container }}
      operator: In
      values: [70, 78]
  - action: Ignore
    onExitCodes:
      containerName: {{ .container }}
      operator: In
      values: [75, 143]
template:
  metadata:
    labels:
      {{- include "ulda.labels" (dict "root" .root "component" "worker") | nindent 6 }}
    {{- if not $values.monitoring.podMonitor }}
    annotations:
      prometheus.io/path: /metrics
      prometheus.io/port: "9465"
      prometheus.io/scrape: "true"
    {{- end }}
  spec:
    restartPolicy: Never
    subdomain: {{ .root.Release.Name }}-worker
    terminationGracePeriodSeconds: {{ add $values.workers.drain 60 }}
    {{- include "ulda.podSecurity" .root | nindent 4 }}
    {{- $labels := merge (dict) $values.workers.nodeSelector (ternary $values.gpu.nodeLabel (dict) $values.gpu.enabled) }}
    {{- with $labels }}
    nodeSelector:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- if $values.gpu.enabled }}
    tolerations:
    - key: {{ $values.gpu.resource }}
      operator: Exists
      effect: NoSchedule
    {{- end }}
    containers:
    - name: {{ .container }}
      command: [worker]
      args:
      - join
      - --coordinator=https://{{ .root.Release.Name }}-coordinator-0.{{ .root.Release.Name }}-coordinator:7070
      - --run={{ .root.Release.Name }}
      - --slot=$(JOB_COMPLETION_INDEX)
      - --data-listen=0.0.0.0:7071
      - --data-advertise=$(POD_IP)
      - --search=600
      - --http=0.0.0.0:9465
      {{- include "ulda.containerSecurity" .root | nindent 6 }}
      env:
      {{- include "ulda.env" .root | nindent 6 }}
      - name: POD_IP
        valueFrom:
          fieldRef:
            fieldPath: status.podIP
      {{- with $values.workers.threadsPerShard }}
      - name: OMP_NUM_THREADS
        value: {{ . | quote }}
      {{- end }}
      ports:
      - name: data
        containerPort: 7071
      - name: metrics
        containerPort: 9465
      livenessProbe:
        httpGet:
          path: /healthz
          port: metrics
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 18
      resources:
        requests:
          cpu: {{ $values.workers.cpu | quote }}
          memory: {{ $values.workers.memory | quote }}
          {{- if $values.gpu.enabled }}
          {{ $values.gpu.resource }}: "1"
          {{- end }}
        limits:
          memory: {{ $values.workers.memory | quote }}
          {{- if $values.gpu.enabled }}
          {{ $values.gpu.resource }}: "1"
          {{- end }}
      volumeMounts:
      - name: runs
        mountPath: /var/lib/ulda/runs
      - name: shm
        mountPath: /dev/shm
      {{- include "ulda.mounts" (dict "root" .root) | nindent 6 }}
    volumes:
    - name: runs
      {{- if $values.runClaim }}
      persistentVolumeClaim:
        claimName: {{ $values.runClaim }}
      {{- else }}
      emptyDir: {}
      {{- end }}
    - name: shm
      emptyDir:
        medium: Memory
        sizeLimit: 2Gi
    {{- include "ulda.volumes" (dict "root" .root "component" "worker") | nindent 4 }}
{{- end }}

{{- define "ulda.set" -}}
network:
  enableDNSHostnames: true
  publishNotReadyAddresses: true
  subdomain: {{ .root.Release.Name }}-worker
failurePolicy:
  maxRestarts: 0
replicatedJobs:
- name: {{ .container }}
  replicas: 1
  template:
    metadata:
      labels:
        {{- include "ulda.labels" (dict "root" .root "component" "worker") | nindent 8 }}
        {{- if eq .container "node" }}
        trainer.kubeflow.org/trainjob-ancestor-step: trainer
        {{- end }}
    spec:
      {{- include "ulda.jobSpec" . | nindent 6 }}
{{- end }}
