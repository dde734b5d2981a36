{{- /*
A Job trains with one process, or with several through torchrun: those of one pod, or of the pods of an indexed Job, which
find the first of them by its name. Run folders are on a claim, so a pod in place of another goes on from the last
checkpoint. Exit code 2 means that the recipe or the data are at fault, which trying again does not change.
*/ -}}

{{/* Where models are published to. */}}
{{- define "poselift.publishedTo" -}}
{{- $source := .Values.models.source -}}
{{- .Values.training.repository | default (has $source (list "bucket" "copy") | ternary .Values.models.address (eq $source "volume" | ternary "/models" "")) -}}
{{- end -}}

{{/* Takes (list root name job). */}}
{{- define "poselift.trainingPod" -}}
{{- $root := index . 0 -}}
{{- $job := index . 2 -}}
{{- $nodes := $job.nodes | default 1 | int64 -}}
{{- $processes := $job.processes | default 1 | int64 -}}
metadata:
  labels:
    {{- include "poselift.selector" (list $root "training") | nindent 4 }}
    poselift/job: {{ index . 1 }}
spec:
  {{- include "poselift.pullSecrets" $root | nindent 2 }}
  serviceAccountName: {{ include "poselift.serviceAccountName" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  restartPolicy: Never
  {{- if gt $nodes 1 }}
  subdomain: {{ include "poselift.fullname" $root }}-training
  {{- end }}
  securityContext:
    {{- include "poselift.podSecurity" $root | nindent 4 }}
  {{- with $root.Values.gpu.runtimeClassName }}{{ if $job.gpus }}
  runtimeClassName: {{ . }}
  {{- end }}{{ end }}
  {{- with $job.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $job.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: training
      image: {{ include "poselift.image" (list $root $root.Values.training.image) }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      {{- if gt (mul $nodes $processes) 1 }}
      command:
        - python
        - -m
        - torch.distributed.run
        - --nproc-per-node={{ $processes }}
        {{- if gt $nodes 1 }}
        - --nnodes={{ $nodes }}
        - --node-rank=$(JOB_COMPLETION_INDEX)
        - --master-addr=$(POSELIFT_FIRST_POD)
        - --master-port=29500
        {{- else }}
        - --standalone
        {{- end }}
        - -m
        - poselift_training.{{ $job.stage }}
      {{- else }}
      command: [python, -m, poselift_training.{{ $job.stage }}]
      {{- end }}
      args:
        - {{ $job.recipe }}
        - --override=runs=/runs
        {{- if eq $job.stage "finetune" }}
        - --override=publish.repository={{ include "poselift.publishedTo" $root }}
        {{- end }}
        {{- range $job.overrides }}
        - {{ printf "--override=%s" . | quote }}
        {{- end }}
      env:
        {{- if gt $nodes 1 }}
        - name: POSELIFT_FIRST_POD
          value: "@first-pod@"
        {{- end }}
        - {name: OMP_NUM_THREADS, value: "1"}
        - {name: XDG_CACHE_HOME, value: /tmp}
        {{- with $root.Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $root.Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      resources:
        {{- include "poselift.resources" (list $root ($job.resources | default dict) ($job.gpus | default 0)) | nindent 8 }}
      securityContext:
        {{- include "poselift.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        - {name: scratch, mountPath: /tmp}
        - {name: shared-memory, mountPath: /dev/shm}
        - {name: runs, mountPath: /runs}
        {{- if $root.Values.training.dataClaimName }}
        - {name: data, mountPath: /data, readOnly: true}
        {{- end }}
        {{- if eq $root.Values.models.source "volume" }}
        - name: models
          mountPath: /models
          {{- with $root.Values.models.volume.subPath }}
          subPath: {{ . }}
          {{- end }}
        {{- end }}
  volumes:
    - name: scratch
      emptyDir: {}
    - name: shared-memory
      emptyDir: {medium: Memory}
    - name: runs
      persistentVolumeClaim: {claimName: {{ $root.Values.training.runsClaimName }}}
    {{- with $root.Values.training.dataClaimName }}
    - name: data
      persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
    {{- end }}
    {{- if eq $root.Values.models.source "volume" }}
    - name: models
      persistentVolumeClaim: {claimName: {{ $root.Values.models.volume.claimName }}}
    {{- end }}
{{- end -}}
