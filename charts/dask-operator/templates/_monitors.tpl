{{- /* Returns a ServiceMonitor or PodMonitor. Arguments: root, monitor (its values), kind, name (suffix), component (its
label), port, selector (labels of the scraped objects) and labels (copied to the targets). */ -}}
{{- define "dask-operator.monitor" -}}
{{- $services := eq .kind "ServiceMonitor" -}}
apiVersion: monitoring.coreos.com/v1
kind: {{ .kind }}
metadata:
  name: {{ include "dask-operator.fullname" .root }}-{{ .name }}
  namespace: {{ .monitor.namespace | default .root.Release.Namespace }}
  labels:
    {{- include "dask-operator.labels" .root | nindent 4 }}
    {{- with .component }}
    dask.org/component: {{ . }}
    {{- end }}
    {{- with .monitor.additionalLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{ $services | ternary "endpoints" "podMetricsEndpoints" }}:
  - port: {{ .port }}
    {{- with .monitor.interval }}
    interval: {{ . }}
    {{- end }}
    {{- with .monitor.metricRelabelings }}
    metricRelabelings:
      {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with .monitor.relabelings }}
    relabelings:
      {{- toYaml . | nindent 4 }}
    {{- end }}
  namespaceSelector:
    {{- .monitor.namespaceSelector | default (dict "matchNames" (list .root.Release.Namespace)) | toYaml | nindent 4 }}
  {{- with .monitor.jobLabel }}
  jobLabel: {{ . | quote }}
  {{- end }}
  {{- with .labels }}
  {{ $services | ternary "targetLabels" "podTargetLabels" }}:
    {{- toYaml . | nindent 2 }}
  {{- end }}
  selector:
    matchLabels:
      {{- toYaml .selector | nindent 6 }}
{{- end -}}
