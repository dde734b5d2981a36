{{/* Names, labels and images; each is a text. */}}

{{- define "poselift.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 48 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 48 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* What never changes between versions: a Deployment's selector cannot be changed. Takes (list root component). */}}
{{- define "poselift.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Values.nameOverride | default (index . 0).Chart.Name | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of an object. Takes (list root component). */}}
{{- define "poselift.labels" -}}
{{- $root := index . 0 -}}
{{ include "poselift.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Name and namespace, which every object has. Takes (list root suffix component). */}}
{{- define "poselift.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "poselift.fullname" $root }}{{ index . 1 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "poselift.labels" (list $root (index . 2)) | nindent 2 }}
{{- end -}}

{{/* Takes (list root image). */}}
{{- define "poselift.image" -}}
{{- $image := index . 1 -}}
{{- $tag := $image.tag | default (index . 0).Chart.AppVersion -}}
{{ $image.repository }}:{{ $tag }}{{ with $image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{- define "poselift.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "poselift.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{/* Whether the Redis for trials is started: true or nothing. */}}
{{- define "poselift.trialRedis" -}}
{{- if and .Values.redis.trial.enabled (not .Values.redis.url) (not .Values.redis.existingSecret.name) }}true{{ end -}}
{{- end -}}

{{/* A number as Kubernetes reads it: large ones would otherwise be printed as 3.3554432e+07. */}}
{{- define "poselift.number" -}}
{{- if eq (float64 (int64 .)) (float64 .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}
