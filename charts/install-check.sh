#!/usr/bin/env bash
# Installs, upgrades, rolls back and uninstalls the chart on a real API server, with Helm 4 and Helm 3, and applies what it
# renders as tools for GitOps do. No pods run.
# Usage: install-check.sh, with KUBECONFIG of a cluster for this check only: it replaces and deletes the
# CustomResourceDefinitions. DASK_OPERATOR may be the path of the controller's program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

release=dask-operator
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. ../testbed/env.sh
step() { printf '== %s\n' "$*"; }
fail() { echo "install-check: $*" >&2; exit 1; }
# is WHAT ACTUAL EXPECTED
is() { [[ $2 == "$3" ]] || fail "$1: expected $3, got $2"; }
# quietly COMMAND...: prints its output only if it fails.
quietly() { "$@" >"$work/out" 2>&1 || fail "$*: $(cat "$work/out")"; }

# on_release COMMAND [ARGUMENT...]: runs the current Helm version on the release.
on_release() { quietly "$helm" "$1" "$release" "${@:2}" --namespace "$release"; }
# Without hooks, because no pod runs that would complete the hook's Job.
uninstall() { on_release uninstall --no-hooks; }
strategy() { kubectl -n "$release" get deployment "$release" -o jsonpath='{.spec.strategy.type}'; }
definitions() { kubectl get crd -o name | grep '\.kubernetes\.dask\.org$' || true; }
remove_definitions() { definitions | quietly xargs -r kubectl delete --timeout 5m; }

# Creates CustomResourceDefinitions without a schema for the kinds of the Prometheus operator, so that Helm can install
# them. monitors/ checks the fields against the Go types.
monitoring_definitions() {
  local kind plural
  for kind in PodMonitor PrometheusRule ServiceMonitor; do
    plural=${kind,,}s
    kubectl apply --server-side -f - <<DEFINITION >/dev/null
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: $plural.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: $kind, plural: $plural, singular: ${kind,,}}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
DEFINITION
    quietly kubectl wait --for=condition=Established "crd/$plural.monitoring.coreos.com" --timeout 5m
  done
}

# Prints CustomResourceDefinitions like those of dask-kubernetes: its four kinds, without schema, and owned by no release.
old_definitions() {
  kubectl create --dry-run=client -o json -f dask-operator/files/crds.yaml | python3 -c '
import json, sys
decoder, text, old = json.JSONDecoder(), sys.stdin.read().strip(), []
while text:
    document, end = decoder.raw_decode(text)
    text = text[end:].strip()
    old += document["items"] if document["kind"] == "List" else [document]
for definition in old:
    for version in definition["spec"]["versions"]:
        version["schema"] = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        version.pop("subresources", None)
        version.pop("additionalPrinterColumns", None)
old = [definition for definition in old if definition["spec"]["names"]["kind"] != "DaskOperatorPlugin"]
json.dump({"apiVersion": "v1", "kind": "List", "items": old}, sys.stdout)'
}

# No golden file has an unknown field or anything else that the API server rejects.
accepts_every_golden() {
  local values rendered
  rendered=$(mktemp)
  for values in golden/*.values.yaml; do
    # The golden file itself has no definitions.
    helm template dask-operator dask-operator --namespace dask-operator --values "$values" >"$rendered"
    quietly kubectl apply --server-side --force-conflicts --dry-run=server --validate=strict -f "$rendered"
    quietly go -C monitors run . <"$rendered"
  done
}

installs_every_golden() {
  local values
  for values in golden/*.values.yaml; do
    on_release install dask-operator --values "$values"
    uninstall
  done
}

# The migration from dask-kubernetes that the chart's README describes.
takes_over_old_definitions() {
  local options=(--take-ownership) idle_action
  [[ $("$helm" version --short) == v3* ]] || options+=(--force-conflicts)
  old_definitions | kubectl create -f - >/dev/null
  if "$helm" install "$release" dask-operator --namespace "$release" >"$work/out" 2>&1; then
    fail "CustomResourceDefinitions of no release were overwritten without an error"
  fi
  grep -q "cannot be imported into the current release" "$work/out" || fail "$(cat "$work/out")"
  on_release install dask-operator "${options[@]}"
  idle_action=.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.idleAction.type
  is "type of idleAction in the new definition" \
    "$(kubectl get crd daskclusters.kubernetes.dask.org -o jsonpath="{$idle_action}")" string
}

# A pod without leader election and one with it must never run at the same time.
rolls_only_between_pods_with_a_lease() {
  is "the strategy of the first installation" "$(strategy)" RollingUpdate
  on_release upgrade dask-operator --set leaderElection.enabled=false
  is "the strategy without leader election" "$(strategy)" Recreate
  on_release upgrade dask-operator --set logLevel=debug
  is "the strategy of the upgrade that enables leader election" "$(strategy)" Recreate
  on_release upgrade dask-operator --set logLevel=info
  is "the strategy of the next upgrade" "$(strategy)" RollingUpdate
  on_release rollback 2
  is "the strategy after the rollback" "$(strategy)" Recreate
}

# Uninstalls the release with its hooks. Checks the permissions of the hook's account, and then marks its Job as complete,
# since no pod runs it.
uninstall_with_hooks() {
  local job=$release-removal account=system:serviceaccount:$release:$release-removal verb
  on_release uninstall &
  quietly kubectl -n "$release" wait --for=create "job/$job" --timeout 5m
  for verb in list patch; do
    is "permission of the hook to $verb" "$(kubectl auth can-i "$verb" daskclusters.kubernetes.dask.org --as "$account" -A)" yes
  done
  quietly kubectl -n "$release" wait --for=jsonpath='{.status.startTime}' "job/$job" --timeout 5m
  kubectl -n "$release" patch job "$job" --subresource status --type merge --patch '{"status": {"succeeded": 1, "active": null, "ready": null,
    "completionTime": "'"$(date -u +%FT%TZ)"'", "conditions": [
      {"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]}}' >/dev/null
  wait $!
  is "objects left by the hook" "$(kubectl get serviceaccounts,roles,rolebindings,jobs,clusterroles,clusterrolebindings -A \
    -o name -l app.kubernetes.io/instance="$release")" ""
}

# Uninstalling keeps CustomResourceDefinitions and clusters, and leaves no finalizer that would block their deletion.
keeps_clusters_when_uninstalled() {
  local before secret
  # Helm keeps a release in a Secret, which may have 1 MiB.
  secret=$(kubectl -n "$release" get secret -l owner=helm,status=deployed -o jsonpath='{.items[-1:].data.release}' | base64 -d | wc -c)
  echo "the release has $((secret / 1024)) KiB of 1024"
  ((secret < 900 * 1024)) || fail "the release has almost no room in its Secret"
  kubectl -n "$release" apply -f ../demo/cluster.yaml >/dev/null
  before=$(definitions)
  uninstall_with_hooks
  is "the CustomResourceDefinitions afterwards" "$(definitions)" "$before"
  quietly kubectl -n "$release" get daskcluster demo
  on_release install dask-operator
  uninstall
  quietly kubectl -n "$release" delete daskcluster demo --timeout 2m
  remove_definitions
}

# Clean up after an earlier run that was interrupted.
quietly helm uninstall "$release" --namespace "$release" --ignore-not-found --no-hooks
remove_definitions
monitoring_definitions
for namespace in $(sed -n 's/^  namespace: //p' golden/*.yaml | sort -u); do
  kubectl create namespace "$namespace" --dry-run=client -o yaml | quietly kubectl apply -f -
done
step "the API server accepts every golden file"
accepts_every_golden
step "what is applied does not differ from what is stored"
./gitops.py
remove_definitions
helm3=$(../testbed/helm3.sh)
for helm in helm "$helm3"; do
  step "$("$helm" version --short): migrate from dask-kubernetes, upgrade, roll back, uninstall"
  takes_over_old_definitions
  rolls_only_between_pods_with_a_lease
  keeps_clusters_when_uninstalled
  step "$("$helm" version --short): the notes name ignored values"
  remove_definitions
  ./ignored.sh "$helm"
  step "$("$helm" version --short): install with every file of values"
  installs_every_golden
  remove_definitions
done
echo "the chart installs, upgrades and uninstalls"
