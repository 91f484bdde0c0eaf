{{/* Names, labels, images. */}}

{{- define "authmesh.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters: suffixes and the hashes that controllers append must fit into a label's 63. */}}
{{- define "authmesh.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "authmesh.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "authmesh.selector" -}}
app.kubernetes.io/name: {{ include "authmesh.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end -}}

{{- define "authmesh.valkey.selector" -}}
app.kubernetes.io/name: {{ include "authmesh.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: valkey
{{- end -}}

{{/* Labels of an object; no component, since most objects belong to several. */}}
{{- define "authmesh.labels" -}}
app.kubernetes.io/name: {{ include "authmesh.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: authmesh
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Nodes are found by this label, so that pods of yours with a sidecar are found as well. */}}
{{- define "authmesh.memberLabel" -}}
authmesh.dev/cluster: {{ include "authmesh.fullname" . }}
{{- end -}}

{{/* Takes (dict "image" ... "default" TAG). */}}
{{- define "authmesh.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .default .image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "authmesh.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "authmesh.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "authmesh.headless" -}}
{{ include "authmesh.fullname" . }}-gossip
{{- end -}}

{{- define "authmesh.keyRingSecret" -}}
{{- default (printf "%s-key-ring" (include "authmesh.fullname" .)) .Values.keyRing.existingSecret -}}
{{- end -}}

{{- define "authmesh.keyRingKey" -}}
{{- if .Values.keyRing.existingSecret -}}{{ .Values.keyRing.existingSecretKey }}{{- else -}}key-ring{{- end -}}
{{- end -}}

{{- define "authmesh.adminSecret" -}}
{{- default (printf "%s-admin" (include "authmesh.fullname" .)) .Values.admin.existingSecret -}}
{{- end -}}

{{- define "authmesh.adminKey" -}}
{{- if .Values.admin.existingSecret -}}{{ .Values.admin.existingSecretKey }}{{- else -}}token{{- end -}}
{{- end -}}

{{/* "true" where nodes share a Redis. */}}
{{- define "authmesh.hasRedis" -}}
{{- if or .Values.valkey.enabled .Values.redis.url -}}true{{- end -}}
{{- end -}}

{{/* The URLs of Redis as a JSON list. */}}
{{- define "authmesh.redisUrls" -}}
{{- if .Values.valkey.enabled -}}
{{- $urls := list -}}
{{- range $index := until (int .Values.valkey.primaries) -}}
{{- $urls = append $urls (printf "rediss://%s-%d.%s.%s.svc:6379" (include "authmesh.valkey" $) $index (include "authmesh.valkey" $) $.Release.Namespace) -}}
{{- end -}}
{{- toJson $urls -}}
{{- else if kindIs "string" .Values.redis.url -}}
{{- if .Values.redis.url -}}{{- splitList "," .Values.redis.url | toJson -}}{{- else -}}[]{{- end -}}
{{- else -}}
{{- default list .Values.redis.url | toJson -}}
{{- end -}}
{{- end -}}

{{/* The secret with the client certificate for Redis, if there is one. */}}
{{- define "authmesh.redisClientSecret" -}}
{{- if .Values.redis.tls.certManager.enabled -}}
{{ include "authmesh.fullname" . }}-redis-client
{{- else -}}
{{ .Values.redis.tls.clientSecret }}
{{- end -}}
{{- end -}}

{{- define "authmesh.valkey" -}}
{{ include "authmesh.fullname" . }}-valkey
{{- end -}}

{{- define "authmesh.valkeyTlsSecret" -}}
{{- if eq .Values.valkey.tls.mode "existingSecret" -}}
{{ .Values.valkey.tls.existingSecret }}
{{- else -}}
{{ include "authmesh.valkey" . }}-tls
{{- end -}}
{{- end -}}

{{/* The restricted pod security standard, and more. */}}
{{- define "authmesh.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "authmesh.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Hash of the secrets of yours that are read at start only, where a cluster can be asked: their change rolls the pods. */}}
{{- define "authmesh.secretsChecksum" -}}
{{- $names := list -}}
{{- if and .Values.admin.enabled .Values.admin.existingSecret -}}{{- $names = append $names .Values.admin.existingSecret -}}{{- end -}}
{{- range .Values.secretFiles -}}{{- $names = append $names .secretName -}}{{- end -}}
{{- $all := "" -}}
{{- range $names | uniq | sortAlpha -}}
{{- $found := lookup "v1" "Secret" $.Release.Namespace . | default dict -}}
{{- $all = printf "%s %s=%s" $all . (dig "data" dict $found | toJson) -}}
{{- end -}}
{{- sha256sum $all -}}
{{- end -}}
