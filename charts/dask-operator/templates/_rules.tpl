{{- /* Rights in each watched namespace: one comment per rule says which step needs it. */ -}}
{{- define "dask-operator.watchedRules" -}}
# What users write, watched. Plugins may be asked about all four kinds.
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters, daskworkergroups, daskjobs, daskautoscalers]
  verbs: [get, list, watch]
# The default group of a cluster is made; groups that users make are put under their cluster, and scaled.
- apiGroups: [kubernetes.dask.org]
  resources: [daskworkergroups]
  verbs: [create, patch]
# A job's cluster is made, and goes with the job's end; an idle cluster goes; kopf's finalizer is removed.
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters]
  verbs: [create, patch, delete]
# Autoscalers are put under their cluster, and remember their cool-down.
- apiGroups: [kubernetes.dask.org]
  resources: [daskautoscalers]
  verbs: [patch]
# A job goes when its time to live has passed; a plugin may ask to be told before it goes (finalizer).
- apiGroups: [kubernetes.dask.org]
  resources: [daskjobs]
  verbs: [patch, delete]
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters/status, daskworkergroups/status, daskjobs/status, daskautoscalers/status]
  verbs: [patch]
# Owner references that block the owner's deletion need this where Kubernetes checks them (OpenShift).
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters/finalizers, daskworkergroups/finalizers, daskjobs/finalizers]
  verbs: [update]
# Schedulers and workers; labels follow their owner's, and workers go when a group shrinks.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
# How workers and schedulers fare; the runners of jobs are made and removed.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
{{- if .Values.rbac.schedulerSecrets }}
# The certificates that DaskClusters name for schedulers that listen with TLS.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end }}
{{- if .Values.rbac.cluster }}
# Labels of namespaces, watched once a plugin selects its subjects by them.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end }}
{{- if .Values.plugins.tenants.enabled }}
# Plugins of teams in their own namespaces: their resources, certificates, authorities and endpoints.
- apiGroups: [kubernetes.dask.org]
  resources: [daskoperatorplugins]
  verbs: [get, list, watch]
- apiGroups: [kubernetes.dask.org]
  resources: [daskoperatorplugins/status]
  verbs: [patch]
- apiGroups: [kubernetes.dask.org]
  resources: [daskoperatorplugins/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
{{- end }}
# Events on transitions; patch counts repetitions.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- /* Rights in the operator's own namespace. */ -}}
{{- define "dask-operator.ownRules" -}}
# Plugin resources are read here only.
- apiGroups: [kubernetes.dask.org]
  resources: [daskoperatorplugins]
  verbs: [get, list, watch]
- apiGroups: [kubernetes.dask.org]
  resources: [daskoperatorplugins/status]
  verbs: [patch]
# Owner of the plugin's Secret; such references block its deletion where Kubernetes checks that (OpenShift).
- apiGroups: [kubernetes.dask.org]
  resources: [daskoperatorplugins/finalizers]
  verbs: [update]
# A plugin's Service must be in the cluster, and not a name in somebody else's DNS.
- apiGroups: [""]
  resources: [services]
  verbs: [get]
# The plugins' authority and certificates, and keys that they name for signatures.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch]
# Authorities of plugins that bring their own certificates.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
# Tokens that prove to a plugin that it is the controller that calls.
- apiGroups: [""]
  resources: [serviceaccounts/token]
  resourceNames: [{{ include "dask-operator.serviceAccountName" . }}]
  verbs: [create]
# Notices at once when a plugin comes or goes.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
# Events about plugin resources.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.leaderElection.enabled }}
# The Lease of the pod that works. The right to create cannot be held to a name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "dask-operator.fullname" . }}]
  verbs: [get, list, watch, update]
{{- end }}
{{- end -}}

{{- /* Binds a role to the controller's account. Takes root, the role's kind and name. */ -}}
{{- define "dask-operator.boundTo" -}}
{{- $account := include "dask-operator.serviceAccountName" .root -}}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .name }}
subjects:
- kind: ServiceAccount
  name: {{ $account }}
  namespace: {{ .root.Release.Namespace }}
{{- end -}}
