{{/*
TOML of values. Helm's own `toToml` writes every number of a values file as a float (`3.0`), which authmesh refuses.
*/}}

{{- define "authmesh.toml.value" -}}
{{- if kindIs "string" . -}}
{{- toJson . -}}
{{- else if kindIs "bool" . -}}
{{- . -}}
{{- else if kindIs "slice" . -}}
[{{- range $index, $item := . -}}{{- if $index }}, {{ end -}}{{- include "authmesh.toml.value" $item -}}{{- end -}}]
{{- else -}}
{{- printf "%d" (int64 .) -}}
{{- end -}}
{{- end -}}

{{/* Takes (dict "path" "issuers" "table" MAP): plain keys first, then the tables within. */}}
{{- define "authmesh.toml.table" -}}
{{- $path := .path -}}
{{- range $key, $value := .table }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ $key }} = {{ include "authmesh.toml.value" $value }}
{{- end }}
{{- end }}
{{- range $key, $value := .table }}
{{- if and (kindIs "map" $value) $value }}

[{{ $path }}.{{ $key }}]
{{- include "authmesh.toml.table" (dict "path" (printf "%s.%s" $path $key) "table" $value) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Takes (dict "path" "server" "table" MAP): the table with its heading, and nothing where it is empty. */}}
{{- define "authmesh.toml.section" -}}
{{- if .table }}
[{{ .path }}]
{{- include "authmesh.toml.table" . }}
{{ end }}
{{- end -}}
