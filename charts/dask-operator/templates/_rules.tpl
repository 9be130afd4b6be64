{{- /* Rules for each watched namespace. The comment of each rule says which step needs it. */ -}}
{{- define "dask-operator.watchedRules" -}}
# Watch the resources of users. Plugins may be called about all four kinds.
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters, daskworkergroups, daskjobs, daskautoscalers]
  verbs: [get, list, watch]
# Create the groups of a cluster. Set the owner of groups that users create, and scale them.
- apiGroups: [kubernetes.dask.org]
  resources: [daskworkergroups]
  verbs: [create, patch]
# Create the cluster of a job, and delete it when the job ends. Delete idle clusters. Remove kopf's finalizer.
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters]
  verbs: [create, patch, delete]
# Create the autoscaler of a job's cluster, and delete it before the workers of a finished job. Set the owner of
# autoscalers, and store their cool-down.
- apiGroups: [kubernetes.dask.org]
  resources: [daskautoscalers]
  verbs: [create, patch, delete]
# Delete finished jobs after their time to live. Add and remove finalizers of plugins.
- apiGroups: [kubernetes.dask.org]
  resources: [daskjobs]
  verbs: [patch, delete]
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters/status, daskworkergroups/status, daskjobs/status, daskautoscalers/status]
  verbs: [patch]
# Set owner references that block the deletion of the owner, on clusters that check this (OpenShift).
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters/finalizers, daskworkergroups/finalizers, daskjobs/finalizers]
  verbs: [update]
# Create schedulers and workers, update their labels, and delete workers when a group shrinks.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
# Watch the state of workers and schedulers. Create and delete the runner pods of jobs. Restore labels by which pods are
# selected.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
{{- if .Values.rbac.schedulerSecrets }}
# Read the certificates that DaskClusters name for schedulers that listen with TLS.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end }}
{{- if .Values.rbac.cluster }}
# Watch labels of namespaces, if a plugin has a namespaceSelector.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end }}
{{- if .Values.leaderElection.enabled }}
# Find other releases that watch the same namespaces, by their Leases.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [list, watch]
{{- if include "dask-operator.namespaces" . | fromJsonArray }}
# Let other releases find this one, by a Lease in each namespace that it names.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "dask-operator.claim" . }}]
  verbs: [create, patch]
{{- end }}
{{- end }}
{{- if not .Values.plugins.tenants.enabled }}
# Report to their authors that plugins are not accepted in these namespaces.
- apiGroups: [kubernetes.dask.org]
  resources: [daskoperatorplugins]
  verbs: [list, watch]
- apiGroups: [kubernetes.dask.org]
  resources: [daskoperatorplugins/status]
  verbs: [patch]
{{- else }}
# Plugins of teams in their own namespaces: plugin resources, certificates, authorities and endpoints.
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
# Publish Events; patch counts repetitions.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- /* Rules for the operator's own namespace. */ -}}
{{- define "dask-operator.ownRules" -}}
# Watch plugin resources, which are only in this namespace.
- apiGroups: [kubernetes.dask.org]
  resources: [daskoperatorplugins]
  verbs: [get, list, watch]
- apiGroups: [kubernetes.dask.org]
  resources: [daskoperatorplugins/status]
  verbs: [patch]
# Set the owner of a plugin's Secret, on clusters that check owner references (OpenShift).
- apiGroups: [kubernetes.dask.org]
  resources: [daskoperatorplugins/finalizers]
  verbs: [update]
# Check that the Service of a plugin has endpoints in the cluster and is not an external name.
- apiGroups: [""]
  resources: [services]
  verbs: [get]
# Keep the certificate authority and the certificates of plugins. Read keys for signatures.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch]
# Read the authorities of plugins that bring their own certificates.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
# Request tokens that identify the controller to a plugin.
- apiGroups: [""]
  resources: [serviceaccounts/token]
  resourceNames: [{{ include "dask-operator.serviceAccountName" . }}]
  verbs: [create]
# Notice at once when a plugin starts or stops.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
# Publish Events about plugin resources.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.leaderElection.enabled }}
# Leader election. The right to create cannot be limited to a name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "dask-operator.fullname" . }}]
  verbs: [get, list, watch, update]
{{- end }}
{{- end -}}

{{- /* Binds a role to the controller's account. Arguments: root, and the kind and name of the role. */ -}}
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
