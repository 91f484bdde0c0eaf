{{/* What no schema can say: settings that contradict each other. Each message says what to do. */}}

{{- define "authmesh.validate" -}}
{{- $v := .Values -}}
{{- $redis := include "authmesh.hasRedis" . -}}
{{- if not $v.issuers -}}
{{- fail "issuers is empty: no token could be accepted. Name one: --set issuers[0].url=https://login.example.com --set issuers[0].audience=orders-api" -}}
{{- end -}}
{{- range $index, $issuer := $v.issuers -}}
{{- if not (or $issuer.url $issuer.preset) -}}
{{- fail (printf "issuers[%d] has neither a url nor a preset: set issuers[%d].url to the `iss` of its tokens" $index $index) -}}
{{- end -}}
{{- if not (or $issuer.audience $issuer.preset $v.config.danger.any_audience) -}}
{{- fail (printf "issuers[%d].audience is empty: a token for any service would be accepted. Name your audience, or set config.danger.any_audience=true" $index) -}}
{{- end -}}
{{- end -}}
{{- if and $v.valkey.enabled $v.redis.url -}}
{{- fail "redis.url and valkey.enabled exclude each other: use your Redis, or the one in the chart" -}}
{{- end -}}
{{- range include "authmesh.redisUrls" . | fromJsonArray -}}
{{- if contains "@" . -}}
{{- fail "redis.url has a user name or password in it: use redis.username and redis.existingSecret instead" -}}
{{- end -}}
{{- end -}}
{{- if not $v.redis.url -}}
{{- if or $v.redis.username $v.redis.existingSecret $v.redis.tls.caSecret $v.redis.tls.clientSecret $v.redis.tls.certManager.enabled -}}
{{- fail "redis has settings and no redis.url: name your Redis, or remove them" -}}
{{- end -}}
{{- end -}}
{{- $many := or (gt (int $v.workload.replicas) 1) $v.autoscaling.enabled (eq $v.workload.kind "Sidecar") -}}
{{- if and $many (not $redis) (not $v.gossip.enabled) -}}
{{- fail "there are several nodes and they share nothing, so a revocation would hold on one of them: set redis.url, or gossip.enabled=true, or workload.replicas=1" -}}
{{- end -}}
{{- if and (eq $v.workload.kind "Sidecar") (not $redis) (not $v.gossip.expect) -}}
{{- fail "gossip.expect is missing: with sidecars and without Redis the chart cannot know how many nodes found the cluster. Set it to the number of your pods, or set redis.url" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (eq $v.workload.kind "Sidecar") -}}
{{- fail "autoscaling.enabled has nothing to scale with workload.kind=Sidecar: your own workload decides" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and $v.snapshot.enabled (eq $v.snapshot.volume "persistentVolumeClaim") (ne $v.workload.kind "StatefulSet") -}}
{{- fail "snapshot.volume=persistentVolumeClaim needs workload.kind=StatefulSet: every node writes a file of its own" -}}
{{- end -}}
{{- if lt (int $v.workload.terminationGracePeriodSeconds) (add (int $v.workload.preStopSeconds) 10) -}}
{{- fail "workload.terminationGracePeriodSeconds must be at least workload.preStopSeconds + 10, so that open requests end and the node says good-bye to its cluster" -}}
{{- end -}}
{{- if and $v.logout.enabled (not (include "authmesh.logoutClients" .)) -}}
{{- fail "logout.enabled is true and no issuer has logout.client_ids: no logout token could be accepted. Set issuers[0].logout.client_ids" -}}
{{- end -}}
{{- if and $v.valkey.enabled (eq $v.valkey.tls.mode "existingSecret") (not $v.valkey.tls.existingSecret) -}}
{{- fail "valkey.tls.mode is existingSecret and valkey.tls.existingSecret is empty: name a secret with tls.crt, tls.key and ca.crt" -}}
{{- end -}}
{{- if and $v.valkey.enabled (eq $v.valkey.tls.mode "certManager") (not $v.valkey.tls.issuerRef) -}}
{{- fail "valkey.tls.mode is certManager and valkey.tls.issuerRef is empty: name an Issuer or ClusterIssuer" -}}
{{- end -}}
{{- if and $v.redis.tls.certManager.enabled (not $v.redis.tls.certManager.issuerRef) -}}
{{- fail "redis.tls.certManager.enabled is true and redis.tls.certManager.issuerRef is empty: name an Issuer or ClusterIssuer" -}}
{{- end -}}
{{- if and $v.redis.tls.certManager.enabled $v.redis.tls.clientSecret -}}
{{- fail "redis.tls.clientSecret and redis.tls.certManager.enabled exclude each other" -}}
{{- end -}}
{{- if and $v.test.tokenSecret $v.test.clientCredentials.tokenUrl -}}
{{- fail "test.tokenSecret and test.clientCredentials.tokenUrl exclude each other" -}}
{{- end -}}
{{- if and $v.test.clientCredentials.tokenUrl (not $v.test.clientCredentials.existingSecret) -}}
{{- fail "test.clientCredentials.existingSecret is empty: name a secret with client-id and client-secret" -}}
{{- end -}}
{{- $ports := list 8400 -}}
{{- if $v.admin.enabled -}}{{- $ports = append $ports (int $v.admin.port) -}}{{- end -}}
{{- if $v.logout.enabled -}}{{- $ports = append $ports (int $v.logout.port) -}}{{- end -}}
{{- if $v.gossip.enabled -}}{{- $ports = append $ports (int $v.gossip.port) -}}{{- end -}}
{{- if ne (len $ports) (len (uniq $ports)) -}}
{{- fail "two listeners have the same port: 8400 is forward auth's, and admin.port, logout.port and gossip.port must differ from it and from each other" -}}
{{- end -}}
{{- end -}}

{{- define "authmesh.logoutClients" -}}
{{- range .Values.issuers -}}{{- if dig "logout" "client_ids" list . -}}true{{- end -}}{{- end -}}
{{- end -}}
