#!/usr/bin/env bash
# The demo: installs the operator and a plugin, creates a Dask cluster, computes on it, shows the child that the plugin added,
# and deletes the cluster. Uses the cluster of KUBECONFIG.
#
# Each step checks what it shows and fails if it is not so: this script is also an end-to-end test.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../testbed/env.sh"
demo=$root/demo
operator=dask-operator
team=dask-demo
results=()

. "$root/demo/steps.sh"
fail() { printf '\ndemo: %s\n' "$*" >&2; exit 1; }
k() { kubectl "$@"; }
# apply NAMESPACE FILE...: applies manifests, with images from REGISTRY.
apply() { sed "s#localhost/#$REGISTRY/#" "${@:2}" | k -n "$1" apply -f - | sed 's/^/   /'; }
report_failure() {
  local code=$?
  [[ $code == 0 ]] && return
  echo "demo: step $number failed; the state of the cluster:" >&2
  k get daskoperatorplugins,daskclusters,daskworkergroups,deployments,pods -A >&2 || true
  k -n "$operator" logs deployment/dask-operator --tail 30 >&2 || true
}
trap report_failure EXIT

step "Load the images into the node"
if [[ $CLUSTER == testbed ]]; then
  testbed load-image --dir "$TESTBED_DIR" "$IMAGES"/{dask,dask-operator,ingress-plugin}.tar
fi

step "Install the operator with Helm: CustomResourceDefinitions, RBAC rules and the controller"
helm upgrade --install dask-operator "$root/charts/dask-operator" --namespace "$operator" --create-namespace \
  --set image.name="$REGISTRY/dask-operator",image.tag=test --wait --timeout 5m >/dev/null
# If the demo runs again, the pods must use the current images.
k -n "$operator" rollout restart deployment dask-operator >/dev/null
k -n "$operator" rollout status deployment dask-operator --timeout 5m

step "Deploy and register the ingress plugin; the controller does not change"
manifests=$root/examples/ingress/manifests
for manifest in rbac plugin deployment; do apply "$operator" "$manifests/$manifest.yaml"; done
k -n "$operator" wait daskoperatorplugin/ingress --for=condition=Ready --timeout 5m | sed 's/^/   /'

step "Create a DaskCluster with two workers"
k create namespace "$team" --dry-run=client -o yaml | k apply -f - >/dev/null
began=$SECONDS
apply "$team" "$demo/cluster.yaml"
k -n "$team" wait daskcluster/demo --for=jsonpath='{.status.phase}'=Running --timeout 5m | sed 's/^/   /'
k -n "$team" wait daskworkergroup/demo-default --for=condition=Scaled --timeout 5m >/dev/null
k -n "$team" wait deployment --all --for=condition=Available --timeout 5m | sed 's/^/   /'
results+=("DaskCluster running with all pods ready $((SECONDS - began)) s after its creation")

step "Compute on the cluster with a Python client"
k -n "$team" delete pod client --ignore-not-found --wait >/dev/null
apply "$team" "$demo/client.yaml" >/dev/null
k -n "$team" wait pod/client --for=jsonpath='{.status.phase}'=Succeeded --timeout 5m >/dev/null ||
  { k -n "$team" logs client >&2; fail "the client did not succeed"; }
# The log may be available a moment after the phase.
has_output() { computed=$(k -n "$team" logs client) && [[ -n $computed ]]; }
until_true has_output || fail "the client printed nothing"
shown "$computed"
[[ $computed == "sum of squares on 2 workers: 328350" ]] || fail "the client printed another result"
results+=("Computed on real Dask: $computed")

step "Show the Ingress that the plugin added, and its owner"
ingress=demo-scheduler-ingress-ingress
until_true k -n "$team" get ingress "$ingress" >/dev/null 2>&1 || fail "there is no Ingress"
k -n "$team" get ingress "$ingress" | sed 's/^/   /'
owner=$(k -n "$team" get ingress "$ingress" -o jsonpath='{.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name}')
host=$(k -n "$team" get ingress "$ingress" -o jsonpath='{.spec.rules[0].host}')
shown "owner: $owner"
[[ $owner == DaskCluster/demo ]] || fail "the Ingress has another owner"
[[ $host == demo.$team.dask.example.org ]] || fail "the Ingress has the host $host"
until_true eval '[[ $(k -n "$operator" get daskoperatorplugin ingress -o jsonpath="{.status.subjects.synced}") -ge 1 ]]' ||
  fail "the plugin's status does not count the subject"
k -n "$operator" get daskoperatorplugin ingress | sed 's/^/   /'
results+=("Ingress added by the plugin: $host, owned by $owner")

step "Delete the DaskCluster and check that all of its objects are deleted"
k -n "$team" delete daskcluster demo | sed 's/^/   /'
k -n "$team" delete pod client >/dev/null
until_true gone daskworkergroups,deployments,services,ingresses,pods -n "$team" || fail "some objects were not deleted"
shown "no worker group, Deployment, Service, Ingress or pod is left"
results+=("Deleted with the cluster: worker group, Deployments, Service, Ingress and pods")
k delete namespace "$team" >/dev/null

printf '\n\033[1m== Summary\033[0m\n'
shown "${results[@]}"
if [[ $CLUSTER == testbed ]]; then
  shown "" "To look around while the cluster runs: export KUBECONFIG=$KUBECONFIG" "To remove everything: make clean"
fi
