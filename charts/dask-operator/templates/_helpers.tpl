{{- define "dask-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "dask-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "dask-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "dask-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "dask-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "dask-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "dask-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "dask-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* Parses kopf's flags in kopfArgs. Returns JSON with the namespaces and the other flags. */ -}}
{{- define "dask-operator.kopf" -}}
{{- $namespaces := list -}}
{{- $others := list -}}
{{- $isName := false -}}
{{- range .Values.kopfArgs -}}
{{- $arg := toString . -}}
{{- if $isName -}}
{{- $namespaces = concat $namespaces (splitList "," $arg) -}}
{{- $isName = false -}}
{{- else if has $arg (list "-n" "--namespace") -}}
{{- $isName = true -}}
{{- else if regexMatch "^(--namespace=|-n)" $arg -}}
{{- $namespaces = concat $namespaces (regexReplaceAll "^(--namespace=|-n)" $arg "" | splitList ",") -}}
{{- else if not (has $arg (list "-A" "--all-namespaces")) -}}
{{- $others = append $others $arg -}}
{{- end -}}
{{- end -}}
{{- dict "namespaces" $namespaces "others" $others | toJson -}}
{{- end -}}

{{- /* Returns the name of the Lease by which other releases find this one, in each namespace that it names. */ -}}
{{- define "dask-operator.claim" -}}
{{- printf "%s.%s" (include "dask-operator.fullname" .) .Release.Namespace -}}
{{- end -}}

{{- /* Returns the watched namespaces as a JSON list. An empty list means all namespaces. */ -}}
{{- define "dask-operator.namespaces" -}}
{{- $namespaces := .Values.watchNamespaces | default (include "dask-operator.kopf" . | fromJson).namespaces -}}
{{- if not (or $namespaces .Values.rbac.cluster) -}}
{{- $namespaces = list .Release.Namespace -}}
{{- end -}}
{{- range $namespaces -}}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" .) -}}
{{- fail (printf "%q is no namespace: kopf's patterns are not supported, list the namespaces in watchNamespaces" .) -}}
{{- end -}}
{{- end -}}
{{- $namespaces | uniq | sortAlpha | toJson -}}
{{- end -}}

{{- /* Returns the excluded namespaces as a JSON list. */ -}}
{{- define "dask-operator.excluded" -}}
{{- $excluded := .Values.excludeNamespaces | default list -}}
{{- range $excluded -}}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" .) -}}
{{- fail (printf "excludeNamespaces: %q is no namespace: patterns are not supported" .) -}}
{{- end -}}
{{- end -}}
{{- if and $excluded (include "dask-operator.namespaces" . | fromJsonArray) -}}
{{- fail "excludeNamespaces is for a release that watches all namespaces: remove it, or watchNamespaces, the namespaces in kopfArgs and rbac.cluster=false" -}}
{{- end -}}
{{- $excluded | uniq | sortAlpha | toJson -}}
{{- end -}}

{{- /* Returns the arguments of the container. WATCH_NAMESPACE contains the watched namespaces, so the flags must not. */ -}}
{{- define "dask-operator.args" -}}
{{- $kopf := .Values.kopfArgs | default list -}}
{{- if include "dask-operator.namespaces" . | fromJsonArray -}}
{{- $kopf = (include "dask-operator.kopf" . | fromJson).others -}}
{{- end -}}
{{- if $kopf -}}
{{- $kopf = prepend $kopf "--" -}}
{{- end -}}
{{- concat (list "run") (.Values.extraArgs | default list) $kopf | toYaml -}}
{{- end -}}

{{- /* Returns the environment variables of the container: those of the chart, except those in extraEnv, then extraEnv. */ -}}
{{- define "dask-operator.env" -}}
{{- $values := .Values -}}
{{- $own := list -}}
{{- range $name, $path := dict "POD_NAME" "metadata.name" "POD_NAMESPACE" "metadata.namespace" "POD_UID" "metadata.uid" -}}
{{- $own = append $own (dict "name" $name "valueFrom" (dict "fieldRef" (dict "fieldPath" $path))) -}}
{{- end -}}
{{- /* Without a limit, this is what the node has. */ -}}
{{- $limit := dict "resource" "limits.memory" "divisor" "1Mi" -}}
{{- $own = append $own (dict "name" "MEMORY_LIMIT_MIB" "valueFrom" (dict "resourceFieldRef" $limit)) -}}
{{- $plain := dict "SERVICE_ACCOUNT" (include "dask-operator.serviceAccountName" .) -}}
{{- $_ := set $plain "CLUSTER_DOMAIN" $values.clusterDomain -}}
{{- $_ := set $plain "LOG_FORMAT" $values.logFormat -}}
{{- $_ := set $plain "RUST_LOG" $values.logLevel -}}
{{- $_ := set $plain "STARTUP_SECONDS" $values.startupSeconds -}}
{{- $_ := set $plain "NAMESPACE_MEMORY_MIB" $values.namespaceMemoryMiB -}}
{{- $_ := set $plain "WATCH_NAMESPACE" (include "dask-operator.namespaces" . | fromJsonArray | join ",") -}}
{{- $_ := set $plain "EXCLUDE_NAMESPACES" (include "dask-operator.excluded" . | fromJsonArray | join ",") -}}
{{- if $values.leaderElection.enabled -}}
{{- $_ := set $plain "LEADER_ELECTION" true -}}
{{- $_ := set $plain "LEASE_NAME" (include "dask-operator.fullname" .) -}}
{{- $_ := set $plain "LEASE_SECONDS" $values.leaderElection.leaseSeconds -}}
{{- end -}}
{{- $_ := set $plain "DASK_KUBERNETES__CONTROLLER__WORKER_ALLOCATION__BATCH_SIZE" $values.workerAllocation.size -}}
{{- $_ := set $plain "DASK_KUBERNETES__CONTROLLER__WORKER_ALLOCATION__DELAY" $values.workerAllocation.delay -}}
{{- $_ := set $plain "PLUGIN_TENANTS" $values.plugins.tenants.enabled -}}
{{- if $values.plugins.tenants.enabled -}}
{{- $_ := set $plain "PLUGINS_PER_NAMESPACE" $values.plugins.tenants.maxPlugins -}}
{{- end -}}
{{- $_ := set $plain "ALLOW_PLUGIN_URLS" $values.plugins.allowUrls -}}
{{- range $name, $value := $plain -}}
{{- if $value -}}
{{- /* Helm parses numbers as floats, and would print large ones with an exponent. */ -}}
{{- $text := ternary (int64 $value | toString) (toString $value) (kindIs "float64" $value) -}}
{{- $own = append $own (dict "name" $name "value" $text) -}}
{{- end -}}
{{- end -}}
{{- $extra := $values.extraEnv | default list -}}
{{- $replaced := list -}}
{{- range $extra -}}
{{- $replaced = append $replaced .name -}}
{{- end -}}
{{- $kept := list -}}
{{- range $own -}}
{{- if not (has .name $replaced) -}}
{{- $kept = append $kept . -}}
{{- end -}}
{{- end -}}
{{- concat $kept $extra | toYaml -}}
{{- end -}}

{{- /* Returns RollingUpdate only if leader election prevents old and new pods from writing at the same time. Existing pods
without leader election (of an earlier version, or of dask-kubernetes) are stopped first. `helm template` cannot look up
existing pods. */ -}}
{{- define "dask-operator.strategy" -}}
{{- $live := lookup "apps/v1" "Deployment" .Release.Namespace (include "dask-operator.fullname" .) -}}
{{- if .Values.strategy -}}
{{- toYaml .Values.strategy -}}
{{- else if not .Values.leaderElection.enabled -}}
type: Recreate
{{- else if and $live (not (contains "LEADER_ELECTION" (toJson $live.spec.template))) -}}
type: Recreate
{{- else -}}
type: RollingUpdate
rollingUpdate:
  maxSurge: 1
  maxUnavailable: 0
{{- end -}}
{{- end -}}

{{- /* Fails with a message for each combination of values that cannot work. */ -}}
{{- define "dask-operator.validate" -}}
{{- if not (hasKey .Values "leaderElection") -}}
{{- fail "these are values of an earlier version: use --reset-then-reuse-values instead of --reuse-values" -}}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.leaderElection.enabled) -}}
{{- fail "replicas is more than 1 and leaderElection.enabled is false: two controllers must not work side by side" -}}
{{- end -}}
{{- with .Values.podDisruptionBudget -}}
{{- if not (or (kindIs "invalid" .minAvailable) (kindIs "invalid" .maxUnavailable)) -}}
{{- fail "podDisruptionBudget has minAvailable and maxUnavailable: give one of them" -}}
{{- end -}}
{{- end -}}
{{- range $sidecar := .Values.plugins.sidecars -}}
{{- range $mount := $sidecar.volumeMounts -}}
{{- if has $mount.name (list "plugins" "api-token") -}}
{{- fail (printf "plugins.sidecars: %s mounts the volume %s, which it must not see: the directory for its socket is mounted in any case" $sidecar.name $mount.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Returns the paths of the values that have no effect, as a JSON list. Arguments: known (a map of known keys, or null
for any), given, and path (a list of keys). */ -}}
{{- define "dask-operator.unknownValues" -}}
{{- $found := list -}}
{{- $known := .known -}}
{{- $path := .path -}}
{{- range $key, $value := .given -}}
{{- $here := append $path (replace "." "\\." $key) -}}
{{- if kindIs "invalid" $value -}}
{{- else if and (kindIs "map" $value) $value (not (hasKey $known $key)) -}}
{{- $found = include "dask-operator.unknownValues" (dict "known" dict "given" $value "path" $here) | fromJsonArray | concat $found -}}
{{- else if not (hasKey $known $key) -}}
{{- $found = join "." $here | append $found -}}
{{- else if and (kindIs "map" $value) (kindIs "map" (get $known $key)) -}}
{{- $found = include "dask-operator.unknownValues" (dict "known" (get $known $key) "given" $value "path" $here) | fromJsonArray | concat $found -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- /* Returns the paths of all values that have no effect, as a JSON list. A chart that has this one as a dependency may
set `enabled` for its condition, and Helm passes `global`. */ -}}
{{- define "dask-operator.ignoredValues" -}}
{{- $known := .Files.Get "files/known-values.json" | fromJson -}}
{{- $given := omit .Values "enabled" "global" -}}
{{- include "dask-operator.unknownValues" (dict "known" $known "given" $given "path" list) -}}
{{- end -}}

{{- /* Returns the ports of a NetworkPolicy's rule: the given ones, or all TCP ports. */ -}}
{{- define "dask-operator.tcpPorts" -}}
{{- $ports := list -}}
{{- range . -}}
{{- $ports = append $ports (dict "port" . "protocol" "TCP") -}}
{{- end -}}
{{- $ports | default (list (dict "protocol" "TCP")) | toYaml -}}
{{- end -}}

{{- /* Returns metadata of a post-delete hook. Arguments: root, name, namespace (or "") and weight. */ -}}
{{- define "dask-operator.removal" -}}
name: {{ .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "dask-operator.labels" .root | nindent 2 }}
annotations:
  helm.sh/hook: post-delete
  helm.sh/hook-weight: {{ .weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end -}}
