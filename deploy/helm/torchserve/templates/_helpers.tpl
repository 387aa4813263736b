{{- define "torchserve.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "torchserve.selector" -}}
app.kubernetes.io/name: torchserve
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "torchserve.labels" -}}
{{ include "torchserve.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "torchserve.account" -}}
{{ .Values.serviceAccount.name | default (include "torchserve.name" .) }}
{{- end }}
