{{/* What selects all pods of the run. */}}
{{- define "ulda.run" -}}
app.kubernetes.io/name: ulda
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of pods and their templates, which cannot change while a Job is there: nothing that a new chart changes. */}}
{{- define "ulda.podLabels" -}}
{{ include "ulda.run" .root }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "ulda.labels" -}}
{{ include "ulda.podLabels" . }}
app.kubernetes.io/part-of: ulda
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
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
{{- if not .Values.config }}
{{- fail "there is no run.toml; hint: --set-file config=run.toml" }}
{{- end }}
{{- if not (or .Values.runClaim (regexMatch `(?m)^[^#\n]*url[^#\n]*["']s3://` .Values.config)) }}
{{- fail "nothing keeps what the workers leave; hint: name a ReadWriteMany claim as runClaim, or object storage as storage.url of the run.toml" }}
{{- end }}
{{- end }}

{{/* `amount`, `count` times, in the same unit. */}}
{{- define "ulda.times" -}}
{{- $number := regexFind "^[0-9.]+" (toString .amount) }}
{{- ternary (toString .amount) (printf "%v%s" (mulf (float64 $number) .count) (trimPrefix $number (toString .amount))) (eq (int .count) 1) | quote }}
{{- end }}

{{/* What a container with `count` processes of the role requests. */}}
{{- define "ulda.resources" -}}
{{- $gpu := and .root.Values.gpu.enabled (eq .component "worker") }}
{{- $role := ternary .root.Values.coordinator .root.Values.workers (eq .component "coordinator") }}
requests:
  cpu: {{ include "ulda.times" (dict "amount" $role.cpu "count" .count) }}
  {{- include "ulda.limits" (dict "root" .root "role" $role "gpu" $gpu "count" .count) | trim | nindent 2 }}
limits:
  {{- include "ulda.limits" (dict "root" .root "role" $role "gpu" $gpu "count" .count) | trim | nindent 2 }}
{{- end }}

{{- define "ulda.limits" -}}
memory: {{ include "ulda.times" (dict "amount" .role.memory "count" .count) }}
{{- with .role.ephemeralStorage }}
ephemeral-storage: {{ include "ulda.times" (dict "amount" . "count" $.count) }}
{{- end }}
{{- if .gpu }}
{{ .root.Values.gpu.resource }}: {{ .count | toString | quote }}
{{- end }}
{{- end }}

{{/* Kubernetes takes no change of a Job's pods; `rendered` tells whether there is one. */}}
{{- define "ulda.unchanged" -}}
{{- $before := dig "metadata" "annotations" "ulda/rendered" "" (lookup .version .kind .root.Release.Namespace .name) }}
{{- if and .root.Release.IsUpgrade $before (ne $before .rendered) }}
{{- fail (printf "the pods of %s %s cannot be changed while it is there; hint: `kubectl delete %s %s -n %s`, then upgrade again: the new workers continue from the newest checkpoint" .kind .name (lower .kind) .name .root.Release.Namespace) }}
{{- end }}
{{- end }}

{{/* The values of a pod's role: coordinator or worker. */}}
{{- define "ulda.pod" -}}
{{- $values := .root.Values }}
{{- $role := ternary $values.coordinator $values.workers (eq .component "coordinator") }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $values.serviceAccount }}
serviceAccountName: {{ . }}
{{- end }}
{{- with $values.imagePullSecrets }}
imagePullSecrets:
{{- toYaml . | nindent 0 }}
{{- end }}
securityContext:
  {{- with $values.user }}
  fsGroup: {{ . }}
  fsGroupChangePolicy: OnRootMismatch
  runAsGroup: {{ . }}
  runAsUser: {{ . }}
  {{- end }}
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
{{- $gpu := and $values.gpu.enabled (eq .component "worker") }}
{{- with merge (dict) $role.nodeSelector (ternary $values.gpu.nodeLabel (dict) $gpu) }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $own := ternary (list (dict "key" $values.gpu.resource "operator" "Exists" "effect" "NoSchedule")) list $gpu }}
{{- with concat $own $role.tolerations }}
tolerations:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with $role.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $role.topologySpreadConstraints }}
topologySpreadConstraints:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with $role.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "ulda.podMetadata" -}}
{{- $values := .root.Values }}
{{- $role := ternary $values.coordinator $values.workers (eq .component "coordinator") }}
labels:
  {{- include "ulda.podLabels" . | nindent 2 }}
  {{- with $role.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $scraped := dict "prometheus.io/path" "/metrics" "prometheus.io/port" (.port | toString) "prometheus.io/scrape" "true" }}
{{- with merge (dict) $role.annotations (ternary (dict) $scraped $values.monitoring.podMonitor.enabled) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "ulda.container" -}}
{{- $values := .root.Values }}
{{- $role := ternary $values.coordinator $values.workers (eq .component "coordinator") }}
{{- $image := ternary $role.image $values.image (not (empty $role.image.repository)) }}
image: {{ printf "%s%s" $image.repository (ternary (printf "@%s" $image.digest) (printf ":%s" ($image.tag | default .root.Chart.AppVersion)) (not (empty $image.digest))) | quote }}
{{- with $image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities:
    drop: [ALL]
  readOnlyRootFilesystem: true
terminationMessagePolicy: FallbackToLogsOnError
{{- with $values.s3.secret }}
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
{{- with (ternary .root.Values.coordinator .root.Values.workers (eq .component "coordinator")).env }}
{{- toYaml . | nindent 0 }}
{{- end }}
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
{{- with (ternary .root.Values.coordinator .root.Values.workers (eq .component "coordinator")).volumes }}
{{- toYaml . | nindent 0 }}
{{- end }}
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
{{- with (ternary .root.Values.coordinator .root.Values.workers (eq .component "coordinator")).volumeMounts }}
{{- toYaml . | nindent 0 }}
{{- end }}
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

{{/* Of the workers' exchanges, one for each worker of a pod. NCCL listens on ports that the system chooses. */}}
{{- define "ulda.dataPorts" -}}
{{- if not .Values.gpu.enabled }}
ports:
{{- if gt (int .Values.workers.perPod) 1 }}
- port: 7071
  endPort: {{ add 7070 .Values.workers.perPod }}
  protocol: TCP
{{- else }}
- port: data
  protocol: TCP
{{- end }}
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

{{/* Pods of workers. */}}
{{- define "ulda.workerPods" -}}
{{- $workers := .Values.workers }}
{{- if mod $workers.count $workers.perPod }}
{{- fail (printf "%v workers do not fill pods of %v; hint: workers.count must be a multiple of workers.perPod" $workers.count $workers.perPod) }}
{{- end }}
{{- div $workers.count $workers.perPod }}
{{- end }}

{{/* The Job inside every kind of output; `container` is the name the output wants for it. */}}
{{- define "ulda.jobSpec" -}}
{{- $values := .root.Values }}
{{- $pods := include "ulda.workerPods" .root | int }}
completions: {{ $pods }}
parallelism: {{ $pods }}
completionMode: Indexed
backoffLimitPerIndex: 10
maxFailedIndexes: {{ sub $pods 1 }}
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
    {{- include "ulda.podMetadata" (dict "root" .root "component" "worker" "port" 9465) | nindent 4 }}
  spec:
    restartPolicy: Never
    subdomain: {{ .root.Release.Name }}-worker
    terminationGracePeriodSeconds: {{ add $values.workers.drain 60 }}
    {{- include "ulda.pod" (dict "root" .root "component" "worker") | nindent 4 }}
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
      {{- if gt (int $values.workers.perPod) 1 }}
      - --processes={{ $values.workers.perPod }}
      - --grace={{ add $values.workers.drain 60 }}
      {{- end }}
      {{- include "ulda.container" (dict "root" .root "component" "worker") | nindent 6 }}
      env:
      {{- include "ulda.env" (dict "root" .root "component" "worker") | nindent 6 }}
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
        {{- include "ulda.resources" (dict "root" .root "component" "worker" "count" $values.workers.perPod) | trim | nindent 8 }}
      volumeMounts:
      - name: runs
        mountPath: /var/lib/ulda/runs
      - name: shm
        mountPath: /dev/shm
      {{- include "ulda.mounts" (dict "root" .root "component" "worker") | nindent 6 }}
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
        sizeLimit: {{ include "ulda.times" (dict "amount" $values.workers.shm "count" $values.workers.perPod) }}
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
        {{- include "ulda.podLabels" (dict "root" .root "component" "worker") | nindent 8 }}
        {{- if eq .container "node" }}
        trainer.kubeflow.org/trainjob-ancestor-step: trainer
        {{- end }}
    spec:
      {{- include "ulda.jobSpec" . | nindent 6 }}
{{- end }}
