{{/* authmesh.toml. It holds paths of secrets, and never one of them. */}}

{{- define "authmesh.config" -}}
{{- $bind := .Values.bindAddress -}}
{{- $config := .Values.config -}}
{{- $secrets := "/run/secrets/authmesh" -}}
{{- $cluster := dict "name" (default (include "authmesh.fullname" .) .Values.cluster.name) "key_ring_file" (printf "%s/key-ring" $secrets) -}}
{{- include "authmesh.toml.section" (dict "path" "cluster" "table" $cluster) }}
{{- $server := mergeOverwrite (deepCopy $config.server) (dict "listen" (printf "%s:8400" $bind)) }}
{{- include "authmesh.toml.section" (dict "path" "server" "table" $server) }}
{{- include "authmesh.toml.section" (dict "path" "possession" "table" $config.possession) }}
{{- $admin := dict "listen" "" }}
{{- if .Values.admin.enabled }}
{{- $address := ternary $bind "127.0.0.1" .Values.admin.expose }}
{{- $admin = dict "listen" (printf "%s:%d" $address (int64 .Values.admin.port)) "token_file" (printf "%s/admin-token" $secrets) }}
{{- end }}
{{- include "authmesh.toml.section" (dict "path" "admin" "table" $admin) }}
{{- if .Values.logout.enabled }}
{{- $logout := mergeOverwrite (deepCopy $config.logout) (dict "listen" (printf "%s:%d" $bind (int64 .Values.logout.port))) }}
{{- include "authmesh.toml.section" (dict "path" "logout" "table" $logout) }}
{{- end }}
{{- if include "authmesh.hasRedis" . }}
{{- $redis := mergeOverwrite (deepCopy $config.redis) (dict "url" (include "authmesh.redisUrls" . | fromJsonArray)) }}
{{- if .Values.valkey.enabled }}
{{- $redis = mergeOverwrite $redis (dict "username" "authmesh" "password_file" (printf "%s/redis-password" $secrets)) }}
{{- $redis = mergeOverwrite $redis (dict "ca_file" (printf "%s/redis-ca.crt" $secrets) "client_cert_file" (printf "%s/redis-client.crt" $secrets) "client_key_file" (printf "%s/redis-client.key" $secrets)) }}
{{- else }}
{{- with .Values.redis.username }}{{- $redis = mergeOverwrite $redis (dict "username" .) }}{{- end }}
{{- if .Values.redis.existingSecret }}{{- $redis = mergeOverwrite $redis (dict "password_file" (printf "%s/redis-password" $secrets)) }}{{- end }}
{{- if .Values.redis.tls.caSecret }}{{- $redis = mergeOverwrite $redis (dict "ca_file" (printf "%s/redis-ca.crt" $secrets)) }}{{- end }}
{{- if include "authmesh.redisClientSecret" . }}
{{- $redis = mergeOverwrite $redis (dict "client_cert_file" (printf "%s/redis-client.crt" $secrets) "client_key_file" (printf "%s/redis-client.key" $secrets)) }}
{{- end }}
{{- end }}
{{- include "authmesh.toml.section" (dict "path" "redis" "table" $redis) }}
{{- end }}
{{- if .Values.gossip.enabled }}
{{- $seeds := prepend .Values.gossip.extraSeeds (printf "%s.%s.svc:%d" (include "authmesh.headless" .) .Release.Namespace (int64 .Values.gossip.port)) }}
{{- $gossip := mergeOverwrite (deepCopy $config.gossip) (dict "bind" (printf "%s:%d" $bind (int64 .Values.gossip.port)) "seeds" $seeds) }}
{{- if not (include "authmesh.hasRedis" .) }}
{{- $first := ternary .Values.autoscaling.minReplicas .Values.workload.replicas .Values.autoscaling.enabled }}
{{- $gossip = mergeOverwrite $gossip (dict "expect" (default $first .Values.gossip.expect)) }}
{{- end }}
{{- include "authmesh.toml.section" (dict "path" "gossip" "table" $gossip) }}
{{- end }}
{{- if .Values.snapshot.enabled }}
{{- include "authmesh.toml.section" (dict "path" "marks" "table" (dict "snapshot" "/var/lib/authmesh/marks")) }}
{{- end }}
{{- include "authmesh.toml.section" (dict "path" "cache" "table" $config.cache) }}
{{- range .Values.issuers }}
[[issuers]]
{{- include "authmesh.toml.table" (dict "path" "issuers" "table" .) }}
{{ end }}
{{- range .Values.routes }}
[[routes]]
{{- include "authmesh.toml.table" (dict "path" "routes" "table" .) }}
{{ end }}
{{- $log := mergeOverwrite (dict "format" "json") (deepCopy $config.log) }}
{{- include "authmesh.toml.section" (dict "path" "log" "table" $log) }}
{{- include "authmesh.toml.section" (dict "path" "telemetry" "table" $config.telemetry) }}
{{- include "authmesh.toml.section" (dict "path" "danger" "table" $config.danger) }}
{{- end -}}
