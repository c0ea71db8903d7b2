{{- define "agiqa.name" -}}
{{- if contains "agiqa" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-agiqa" (.Release.Name | trunc 34 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the pods of a component: (list . "gateway"). */}}
{{- define "agiqa.selector" -}}
app.kubernetes.io/name: agiqa
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "agiqa.labels" -}}
{{- $root := index . 0 -}}
{{ include "agiqa.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{/* An image's reference: (list . .Values.gateway.image). */}}
{{- define "agiqa.image" -}}
{{- $tag := (index . 1).tag | default (index . 0).Chart.AppVersion -}}
{{- printf "%s%s%s" (index . 1).repository (ternary "@" ":" (hasPrefix "sha256:" $tag)) $tag -}}
{{- end -}}

{{- define "agiqa.secret" -}}
{{- required "secret: name the Secret that holds the keys (README.md, Secrets)" .Values.secret -}}
{{- end -}}

{{- define "agiqa.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "agiqa.name" .) -}}
{{- end -}}

{{/* What every pod has: nobody's rights, no token of the API. */}}
{{- define "agiqa.pod" -}}
serviceAccountName: {{ include "agiqa.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "agiqa.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "agiqa.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{- define "agiqa.spread" -}}
- maxSkew: 1
  topologyKey: topology.kubernetes.io/zone
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "agiqa.selector" . | nindent 6 }}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "agiqa.selector" . | nindent 6 }}
{{- end -}}

{{/* Base URL that spans are sent to, or nothing. */}}
{{- define "agiqa.otlp" -}}
{{- if .Values.tracing.endpoint -}}
{{ .Values.tracing.endpoint }}
{{- else if .Values.tracing.collector.enabled -}}
http://{{ include "agiqa.name" . }}-collector:4318
{{- end -}}
{{- end -}}

{{/* The gRPC addresses of Triton. */}}
{{- define "agiqa.triton" -}}
{{- $tls := .Values.triton.tls }}
{{- if and .Values.triton.enabled (ne (empty $tls.serverSecret) (empty $tls.clientSecret)) -}}
{{- fail "triton.tls: serverSecret and clientSecret go together" -}}
{{- end -}}
{{- if .Values.triton.enabled -}}
{{ include "agiqa.name" . }}-triton.{{ .Release.Namespace }}.svc:8001
{{- else -}}
{{- join "," (required "triton.addresses: list the Tritons, or enable the chart's" (.Values.triton.addresses | default nil)) -}}
{{- end -}}
{{- end -}}

{{/* Whether bundles of checkpoints are mounted, and from where. */}}
{{- define "agiqa.checkpoints" -}}
{{- if eq .Values.models.source "claim" -}}claim
{{- else if .Values.models.image.repository -}}image
{{- end -}}
{{- end -}}

{{/* Up fast, since a queue is a loss; down slowly, since load comes back. */}}
{{- define "agiqa.scaling" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - { type: Percent, value: 100, periodSeconds: 15 }
    - { type: Pods, value: 4, periodSeconds: 15 }
  selectPolicy: Max
scaleDown:
  stabilizationWindowSeconds: 300
  policies:
    - { type: Percent, value: 20, periodSeconds: 60 }
{{- end -}}

{{/* A setting as the environment has it: lists by commas, no exponents. */}}
{{- define "agiqa.settingValue" -}}
{{- if kindIs "slice" . -}}{{ join "," . }}
{{- else if and (kindIs "float64" .) (eq (float64 (int64 .)) .) -}}{{ int64 . }}
{{- else -}}{{ . }}
{{- end -}}
{{- end -}}
