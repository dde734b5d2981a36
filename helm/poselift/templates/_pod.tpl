{{/* Parts that the pods of the server, of Redis and of training have in common. */}}

{{- define "poselift.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ int64 .Values.security.runAsUser }}
runAsGroup: {{ int64 .Values.security.runAsUser }}
{{- with .Values.security.fsGroup }}
fsGroup: {{ int64 . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "poselift.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "poselift.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Resources with the GPUs among the limits. Takes (list root resources gpus). */}}
{{- define "poselift.resources" -}}
{{- $resources := deepCopy (index . 1) -}}
{{- with index . 2 -}}
{{- $limits := merge (dict (index $ 0).Values.gpu.resourceName (. | int64 | toString)) (get $resources "limits" | default dict) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{ toYaml $resources }}
{{- end -}}

{{/* Where the server finds its models. */}}
{{- define "poselift.models" -}}
{{ if eq .Values.models.source "bucket" }}{{ .Values.models.address }}{{ else }}/models{{ end }}
{{- end -}}

{{/* Environment from Secrets, and where in the container the others are mounted. */}}
{{- define "poselift.secretEnv" -}}
{{- with .Values.redis.existingSecret }}{{ if .name }}
- name: POSELIFT_REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ .name }}, key: {{ .key }}}}
{{- end }}{{ end }}
{{- if include "poselift.trialRedis" . }}
- name: POSELIFT_REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ include "poselift.fullname" . }}-redis, key: url}}
{{- end }}
{{- if .Values.settings.admin }}
- name: POSELIFT_ADMIN_KEY
  valueFrom: {secretKeyRef: {name: {{ .Values.admin.existingSecret.name }}, key: {{ .Values.admin.existingSecret.key }}}}
{{- end }}
{{- end -}}

{{- define "poselift.mounts" -}}
- {name: scratch, mountPath: /tmp}
{{- if eq .Values.models.source "bucket" }}
- {name: cache, mountPath: /cache}
{{- else if eq .Values.models.source "copy" }}
- {name: cache, mountPath: /models, readOnly: true}
{{- else if eq .Values.models.source "volume" }}
- name: models
  mountPath: /models
  readOnly: {{ .Values.models.volume.readOnly }}
  {{- with .Values.models.volume.subPath }}
  subPath: {{ . }}
  {{- end }}
{{- end }}
{{- if .Values.apiKeys.existingSecret.name }}
- {name: api-keys, mountPath: /secrets/api-keys, readOnly: true}
{{- end }}
{{- if .Values.tls.existingSecret }}
- {name: tls, mountPath: /secrets/tls, readOnly: true}
{{- end }}
{{- if .Values.tls.clientCa.name }}
- {name: client-ca, mountPath: /secrets/client-ca, readOnly: true}
{{- end }}
{{- end -}}

{{- define "poselift.volumes" -}}
- name: scratch
  emptyDir: {sizeLimit: 256Mi}
{{- if has .Values.models.source (list "bucket" "copy") }}
- name: cache
  emptyDir: {sizeLimit: {{ .Values.models.cacheSize }}}
{{- else if eq .Values.models.source "volume" }}
- name: models
  persistentVolumeClaim:
    claimName: {{ .Values.models.volume.claimName }}
    readOnly: {{ .Values.models.volume.readOnly }}
{{- end }}
{{- with .Values.apiKeys.existingSecret }}{{ if .name }}
- name: api-keys
  secret: {secretName: {{ .name }}, items: [{key: {{ .key }}, path: keys}]}
{{- end }}{{ end }}
{{- with .Values.tls.existingSecret }}
- name: tls
  secret: {secretName: {{ . }}}
{{- end }}
{{- with .Values.tls.clientCa }}{{ if .name }}
- name: client-ca
  secret: {secretName: {{ .name }}, items: [{key: {{ .key }}, path: ca.crt}]}
{{- end }}{{ end }}
{{- end -}}

{{/*
One probe's way to look. Where a client needs a certificate, which a kubelet does not have, the metrics tell.
Takes (list root path).
*/}}
{{- define "poselift.look" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.tls.clientCa.name -}}
exec:
  command:
    - python
    - -c
    - >-
      import urllib.request as r;
      told = r.urlopen("http://127.0.0.1:{{ int64 $root.Values.settings.metrics_port }}/metrics", timeout=4).read();
      raise SystemExit({{ if eq (index . 1) "/readyz" }}b"\nposelift_ready 1.0\n" not in told{{ else }}not told{{ end }})
{{- else -}}
httpGet:
  path: {{ index . 1 }}
  port: http
  {{- if $root.Values.tls.existingSecret }}
  scheme: HTTPS
  {{- end }}
{{- end -}}
{{- end -}}
