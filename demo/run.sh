#!/usr/bin/env bash
# The main job, from `helm install` to a clean end: a plugin's child beside a real Dask cluster.
#
# Each step fails if what it shows is not so; the end-to-end test is this script. KUBECONFIG says where.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../testbed/env.sh"
demo=$root/demo
operator=dask-operator
team=dask-demo
results=()

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
shown() { printf '   %s\n' "$@"; }
fail() { printf '\ndemo: %s\n' "$*" >&2; exit 1; }
k() { kubectl "$@"; }
# apply NAMESPACE FILE...
apply() { sed "s#localhost/#$REGISTRY/#" "${@:2}" | k -n "$1" apply -f - | sed 's/^/   /'; }
gone() { [[ -z $(k get "$@" --ignore-not-found -o name) ]]; }
# until_true COMMAND...: waits for a condition that kubectl cannot wait for.
until_true() {
  local deadline=$((SECONDS + 180))
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.2
  done
}
report_failure() {
  local code=$?
  [[ $code == 0 ]] && return
  echo "demo: failed; what the cluster says:" >&2
  k get daskoperatorplugins,daskclusters,daskworkergroups,deployments,pods -A >&2 || true
  k -n "$operator" logs deployment/dask-operator --tail 30 >&2 || true
}
trap report_failure EXIT

step "Loading the images into the node"
if [[ $CLUSTER == testbed ]]; then
  testbed load-image --dir "$TESTBED_DIR" "$IMAGES"/{dask,dask-operator,ingress-plugin}.tar
fi

step "helm install: the controller, its definitions and its rights"
helm upgrade --install dask-operator "$root/charts/dask-operator" --namespace "$operator" --create-namespace \
  --set image.name="$REGISTRY/dask-operator",image.tag=test --wait --timeout 5m >/dev/null
# A second run must show the images of today.
k -n "$operator" rollout restart deployment dask-operator >/dev/null
k -n "$operator" rollout status deployment dask-operator --timeout 5m

step "Deploying the ingress plugin and registering it; the controller is not touched"
manifests=$root/examples/ingress/manifests
for manifest in rbac plugin deployment; do apply "$operator" "$manifests/$manifest.yaml"; done
k -n "$operator" wait daskoperatorplugin/ingress --for=condition=Ready --timeout 5m | sed 's/^/   /'

step "Creating a DaskCluster of two workers"
k create namespace "$team" --dry-run=client -o yaml | k apply -f - >/dev/null
began=$SECONDS
apply "$team" "$demo/cluster.yaml"
k -n "$team" wait daskcluster/demo --for=jsonpath='{.status.phase}'=Running --timeout 5m | sed 's/^/   /'
k -n "$team" wait daskworkergroup/demo-default --for=condition=Scaled --timeout 5m >/dev/null
k -n "$team" wait deployment --all --for=condition=Available --timeout 5m | sed 's/^/   /'
results+=("DaskCluster running, all pods ready: $((SECONDS - began)) s after its creation")

step "A Python client computes on it"
k -n "$team" delete pod client --ignore-not-found --wait >/dev/null
apply "$team" "$demo/client.yaml" >/dev/null
k -n "$team" wait pod/client --for=jsonpath='{.status.phase}'=Succeeded --timeout 5m >/dev/null ||
  { k -n "$team" logs client >&2; fail "the client did not succeed"; }
# The log may be complete a moment after the phase.
said() { computed=$(k -n "$team" logs client) && [[ -n $computed ]]; }
until_true said || fail "the client said nothing"
shown "$computed"
[[ $computed == "sum of squares on 2 workers: 328350" ]] || fail "the client computed something else"
results+=("Computed on real Dask: $computed")

step "What the plugin asked for, and who owns it"
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
results+=("Ingress by the plugin: $host, owned by $owner")

step "Deleting the cluster: everything goes with it"
k -n "$team" delete daskcluster demo | sed 's/^/   /'
k -n "$team" delete pod client >/dev/null
until_true gone daskworkergroups,deployments,services,ingresses,pods -n "$team" || fail "something was left behind"
shown "no worker group, Deployment, Service, Ingress or pod is left"
results+=("Deleted: worker group, Deployments, Service, Ingress and pods went with the cluster")
k delete namespace "$team" >/dev/null

step "Summary"
shown "${results[@]}"
if [[ $CLUSTER == testbed ]]; then
  shown "" "Look around:  export KUBECONFIG=$KUBECONFIG" "Take it down: make clean"
fi
