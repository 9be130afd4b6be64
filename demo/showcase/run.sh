#!/usr/bin/env bash
# The showcase: installs Istio, cert-manager, the operator and the Istio plugin, creates a Dask cluster, computes on it, and
# opens its dashboard in a browser, through the gateway. Everything keeps running. Each step checks what it shows.
# Usage: testbed/with-cluster.sh showcase demo/showcase/run.sh PICTURE.png
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../testbed/mesh/env.sh"
. "$root/demo/steps.sh"
picture=$1
team=team
results=()
k() { kubectl -n "$team" "$@"; }
fail() { printf '\nshowcase: %s\n' "$*" >&2; exit 1; }
report_failure() {
  local code=$?
  [[ $code == 0 ]] && return
  echo "showcase: step $number failed; the state of the cluster:" >&2
  kubectl get daskoperatorplugins,daskclusters,deployments,pods,certificates,gateways,virtualservices -A >&2 || true
}
trap report_failure EXIT

step "Install Istio, cert-manager, a certificate authority, the operator and the Istio plugin"
address=$("$root/testbed/mesh/install.sh")
kubectl -n dask-operator get daskoperatorplugin istio | sed 's/^/   /'

step "Create a DaskCluster with three workers; the plugin adds a Gateway, a VirtualService and a Certificate"
k delete daskcluster demo --ignore-not-found --wait >/dev/null
until_true gone daskclusters,pods -n "$team" -l dask.org/cluster-name=demo || fail "the objects of an earlier run were not deleted"
host=demo.$team.dask.example.org
authority=$STATE/showcase-ca.crt
kubectl -n cert-manager get secret demo-ca -o jsonpath='{.data.ca\.crt}' | base64 -d >"$authority"
answers() { curl -sf --max-time 5 --cacert "$authority" --resolve "$host:443:$address" "https://$host/status" -o /dev/null; }
began=$(date +%s%N)
sed 's/replicas: 2/replicas: 3/' "$root/demo/cluster.yaml" | k apply -f - | sed 's/^/   /'
until_true answers || fail "https://$host does not answer"
took=$((($(date +%s%N) - began) / 100000000))
k get gateway,virtualservice,certificate | sed 's/^/   /'
results+=("https://$host answered $((took / 10)).$((took % 10)) s after the creation of the DaskCluster")

step "Compute on the cluster with a Python client"
k delete pod client --ignore-not-found --wait >/dev/null
k apply -f "$root/demo/showcase/client.yaml" | sed 's/^/   /'
# The first line of its log.
has_output() { computed=$(k logs client 2>/dev/null) && computed=${computed%%$'\n'*} && [[ -n $computed ]]; }
until_true has_output || { k logs client >&2; fail "the client printed nothing"; }
shown "$computed"
[[ $computed == "sum of squares on 3 workers: 2646700" ]] || fail "the client printed another result"
results+=("$computed")

step "Open the dashboard in a browser, through the gateway, while the client computes"
mkdir -p "$(dirname "$picture")"
loaded=$("$root/demo/showcase/browser.py" "$host" "$address" "$authority" "$picture")
while read -r line; do
  shown "$line"
  results+=("$line")
done <<<"$loaded"
results+=("picture of the dashboard: $picture ($(du -h "$picture" | cut -f1))")

printf '\n\033[1m== Summary\033[0m\n'
shown "${results[@]}"
printf '\n\033[1m== Look at it yourself\033[0m\n'
shown "On this machine, as long as the cluster runs:" \
  "  curl --cacert $authority --resolve $host:443:$address https://$host/status" \
  "  chromium --user-data-dir=/tmp/showcase --host-resolver-rules='MAP $host $address' https://$host/status" \
  "From another machine: ssh -N -L 8443:$address:443 THIS_MACHINE, and then Chromium with 'MAP $host 127.0.0.1:8443'." \
  "The browser warns until it trusts $authority." \
  "More computations: export KUBECONFIG=$KUBECONFIG" \
  "  kubectl -n $team replace --force -f demo/showcase/client.yaml" \
  "To remove everything: make clean"
