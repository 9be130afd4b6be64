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
{{- if eq .port "http-dashboard" }}
  {{- include "dask-operator.endpoint" (dict "monitor" .monitor "port" .port
      "relabelings" (include "dask-operator.usualPort" $services | fromYamlArray)) | nindent 2 }}
  {{- include "dask-operator.endpoint" (dict "monitor" .monitor
      "relabelings" (include "dask-operator.namedPort" $services | fromYamlArray)) | nindent 2 }}
{{- else }}
  {{- include "dask-operator.endpoint" (dict "monitor" .monitor "port" .port "relabelings" list) | nindent 2 }}
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

{{- /* Returns an endpoint of a monitor. Arguments: monitor (its values), port (a name, or none for all ports) and
relabelings, before those of the values. */ -}}
{{- define "dask-operator.endpoint" -}}
{{- $endpoint := dict -}}
{{- range $key, $value := dict "port" .port "interval" .monitor.interval "metricRelabelings" .monitor.metricRelabelings
    "relabelings" (concat .relabelings (.monitor.relabelings | default list)) -}}
{{- if $value -}}
{{- $_ := set $endpoint $key $value -}}
{{- end -}}
{{- end -}}
{{- list $endpoint | toYaml -}}
{{- end -}}

{{- /* The following relabelings are for dashboards. The controller says in annotations what the command lines of schedulers
and workers change: the prefix of the path, and a name of the port other than http-dashboard. Argument: whether the
targets are those of Services. All fields with defaults are given, since GitOps tools would report them as differences. */ -}}

{{- define "dask-operator.annotation" -}}
__meta_kubernetes_{{ . | ternary "service" "pod" }}_annotation_operator_dask_org_dashboard
{{- end -}}

{{- define "dask-operator.usualPort" -}}
- action: drop
  sourceLabels: [{{ include "dask-operator.annotation" . }}_port]
  regex: .+
{{ include "dask-operator.prefix" . }}
{{- end -}}

{{- define "dask-operator.namedPort" -}}
- action: keep
  sourceLabels: [{{ include "dask-operator.annotation" . }}_port]
  regex: .+
- action: replace
  {{- if . }}
  # Prometheus finds Services by Endpoints or by EndpointSlices.
  sourceLabels: [__meta_kubernetes_endpoint_port_name, __meta_kubernetes_endpointslice_port_name]
  regex: (.*);(.*)
  replacement: $1$2
  {{- else }}
  sourceLabels: [__meta_kubernetes_pod_container_port_name]
  {{- end }}
  targetLabel: endpoint
- action: keepequal
  sourceLabels: [{{ include "dask-operator.annotation" . }}_port]
  targetLabel: endpoint
{{ include "dask-operator.prefix" . }}
{{- end -}}

{{- /* Workers have no prefix: Dask ignores the option. */ -}}
{{- define "dask-operator.prefix" -}}
{{- if . -}}
- action: replace
  sourceLabels: [{{ include "dask-operator.annotation" . }}_prefix]
  regex: (.+)
  targetLabel: __metrics_path__
  replacement: $1/metrics
{{- end -}}
{{- end -}}
