{{/* The container of a node, as it stands in pods of the chart's own and in the sidecar's patch. */}}

{{- define "authmesh.container" -}}
name: authmesh
image: {{ include "authmesh.image" (dict "image" .Values.image "default" .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve]
env:
  - name: AUTHMESH_CONFIG
    value: /etc/authmesh/authmesh.toml
  - name: AUTHMESH_CLUSTER_NODE
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  {{- if .Values.gossip.enabled }}
  # Said outright, because a node that starts before its seeds have names cannot tell by them which address is its own.
  - name: POD_IP
    valueFrom:
      fieldRef:
        fieldPath: status.podIP
  - name: AUTHMESH_GOSSIP_ADVERTISE
    value: {{ printf (ternary "[$(POD_IP)]:%d" "$(POD_IP):%d" (eq .Values.bindAddress "[::]")) (int64 .Values.gossip.port) | quote }}
  {{- end }}
  {{- with .Values.workload.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - name: {{ if eq .Values.workload.kind "Sidecar" }}authmesh{{ else }}http{{ end }}
    containerPort: 8400
  {{- if and .Values.admin.enabled .Values.admin.expose }}
  - name: admin
    containerPort: {{ .Values.admin.port }}
  {{- end }}
  {{- if .Values.logout.enabled }}
  - name: logout
    containerPort: {{ .Values.logout.port }}
  {{- end }}
  {{- if .Values.gossip.enabled }}
  - name: gossip-udp
    containerPort: {{ .Values.gossip.port }}
    protocol: UDP
  - name: gossip-tcp
    containerPort: {{ .Values.gossip.port }}
  {{- end }}
# /livez depends on nothing but the process: an outage of Redis or of an issuer must not restart nodes, whose memory is what
# answers meanwhile. /readyz is true once the revocations are loaded, and stays true: a blind node knows itself what it may answer.
startupProbe:
  httpGet:
    path: /livez
    port: 8400
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /livez
    port: 8400
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: 8400
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- if gt (int .Values.workload.preStopSeconds) 0 }}
# Proxies hear a moment later that this pod goes; until then it answers. Then SIGTERM: requests end, and the node leaves.
lifecycle:
  preStop:
    sleep:
      seconds: {{ .Values.workload.preStopSeconds }}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- include "authmesh.containerSecurity" . | nindent 2 }}
  runAsUser: 65532
  runAsGroup: 65532
volumeMounts:
  - name: authmesh-config
    mountPath: /etc/authmesh
    readOnly: true
  - name: authmesh-secrets
    mountPath: /run/secrets/authmesh
    readOnly: true
  {{- range .Values.secretFiles }}
  - name: authmesh-file-{{ .name }}
    mountPath: /run/secrets/{{ .name }}
    readOnly: true
  {{- end }}
  {{- if .Values.snapshot.enabled }}
  - name: authmesh-marks
    mountPath: /var/lib/authmesh
  {{- end }}
  {{- with .Values.workload.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Secrets are mounted as whole directories, so that a change reaches a running node: it reads key ring, password and certificates again. */}}
{{- define "authmesh.volumes" -}}
{{- /* A sidecar has no fsGroup to read by. These volumes are mounted into its container alone, where nobody else is. */}}
{{- $mode := ternary "0444" "0440" (eq .Values.workload.kind "Sidecar") }}
- name: authmesh-config
  configMap:
    name: {{ include "authmesh.fullname" . }}
- name: authmesh-secrets
  projected:
    defaultMode: {{ $mode }}
    sources:
      - secret:
          name: {{ include "authmesh.keyRingSecret" . }}
          items:
            - key: {{ include "authmesh.keyRingKey" . }}
              path: key-ring
      {{- if .Values.admin.enabled }}
      - secret:
          name: {{ include "authmesh.adminSecret" . }}
          items:
            - key: {{ include "authmesh.adminKey" . }}
              path: admin-token
      {{- end }}
      {{- if .Values.valkey.enabled }}
      - secret:
          name: {{ include "authmesh.valkey" . }}-auth
          items:
            - key: password
              path: redis-password
      - secret:
          name: {{ include "authmesh.valkeyTlsSecret" . }}
          items:
            - key: ca.crt
              path: redis-ca.crt
            - key: tls.crt
              path: redis-client.crt
            - key: tls.key
              path: redis-client.key
      {{- else if .Values.redis.url }}
      {{- if .Values.redis.existingSecret }}
      - secret:
          name: {{ .Values.redis.existingSecret }}
          items:
            - key: {{ .Values.redis.existingSecretKey }}
              path: redis-password
      {{- end }}
      {{- if .Values.redis.tls.caSecret }}
      - secret:
          name: {{ .Values.redis.tls.caSecret }}
          items:
            - key: {{ .Values.redis.tls.caSecretKey }}
              path: redis-ca.crt
      {{- end }}
      {{- with include "authmesh.redisClientSecret" . }}
      - secret:
          name: {{ . }}
          items:
            - key: tls.crt
              path: redis-client.crt
            - key: tls.key
              path: redis-client.key
      {{- end }}
      {{- end }}
{{- range .Values.secretFiles }}
- name: authmesh-file-{{ .name }}
  secret:
    secretName: {{ .secretName }}
    defaultMode: {{ $mode }}
{{- end }}
{{- if and .Values.snapshot.enabled (ne .Values.snapshot.volume "persistentVolumeClaim") }}
- name: authmesh-marks
  emptyDir:
    sizeLimit: {{ .Values.snapshot.size }}
{{- end }}
{{- with .Values.workload.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* metadata and spec of a pod of the chart's own. */}}
{{- define "authmesh.pod" -}}
metadata:
  labels:
    {{- include "authmesh.selector" . | nindent 4 }}
    {{- include "authmesh.memberLabel" . | nindent 4 }}
    {{- with .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with .Values.workload.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "authmesh.config" . | sha256sum }}
    checksum/secrets: {{ include "authmesh.secretsChecksum" . }}
    {{- with .Values.workload.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "authmesh.serviceAccount" . }}
  automountServiceAccountToken: false
  # Kubernetes' own AUTHMESH_* variables would stand beside the settings.
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.workload.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .Values.workload.terminationGracePeriodSeconds }}
  securityContext:
    {{- include "authmesh.podSecurity" . | nindent 4 }}
  containers:
    - {{- include "authmesh.container" . | nindent 6 }}
  volumes:
    {{- include "authmesh.volumes" . | nindent 4 }}
  {{- with .Values.workload.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.workload.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.workload.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.workload.topologySpread.enabled }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: {{ $.Values.workload.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "authmesh.selector" $ | nindent 10 }}
    {{- end }}
  {{- end }}
{{- end -}}
