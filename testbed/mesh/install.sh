#!/usr/bin/env bash
# Installs Istio, a gateway in the namespace `team`, cert-manager with the ClusterIssuer `demo-ca`, and the operator with the
# Istio plugin, as a sidecar and as a Deployment. May be repeated. Prints the address of the gateway as its last line.
# Usage: testbed/with-cluster.sh mesh|showcase testbed/mesh/install.sh [IMAGE.tar...] (images to load in addition)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

say() { printf '%4d s  %s\n' "$SECONDS" "$*" >&2; }
quietly() { "$@" >/dev/null; }
namespace() { kubectl create namespace "$1" --dry-run=client -o yaml | quietly kubectl apply -f -; }
install() { helm upgrade --install "$@" >/dev/null; }

say "loading the images"
load() { testbed load-image --dir "$TESTBED_DIR" "$@" >&2; }
load "$MESH"/{pilot,proxyv2,cert-manager}.tar
load "$IMAGES"/{dask-operator,istio-plugin,dask}.tar "$@" &
loading=$!
for namespace in istio-system cert-manager team dask-operator; do namespace "$namespace"; done

say "installing Istio's and cert-manager's definitions"
quietly kubectl apply --server-side --force-conflicts -f "$MESH/cert-manager-crds"
install istio-base "$MESH/istio-base" -n istio-system
say "installing istiod and cert-manager"
install istiod "$MESH/istiod" -n istio-system -f "$mesh/values/istiod.yaml"
helm template cert-manager "$MESH/cert-manager" -n cert-manager -s templates/rbac.yaml -s templates/serviceaccount.yaml |
  quietly kubectl apply -f -
quietly kubectl apply -f "$mesh/cert-manager.yaml" -f "$mesh/issuers.yaml"

wait "$loading"
say "installing the operator with the Istio plugin"
repeated=$(kubectl -n dask-operator get deployment dask-operator --ignore-not-found -o name)
quietly kubectl apply -f "$root/examples/istio/manifests/rbac.yaml"
install dask-operator "$root/charts/dask-operator" -n dask-operator -f "$root/examples/istio/manifests/sidecar/values.yaml" \
  --set image.name=localhost/dask-operator,image.tag=test,rbac.schedulerSecrets=true
# With the issuer of this cluster, and for schedulers with TLS as well.
sed -e 's/letsencrypt/demo-ca/' -e 's/^  settings:/&\n    exposeScheduler: true/' "$root/examples/istio/manifests/plugin.yaml" |
  quietly kubectl apply -f -
quietly kubectl apply -n dask-operator -f "$root/examples/istio/manifests/deployment.yaml"
# The tags of the images do not change with their content.
[[ -z $repeated ]] || quietly kubectl -n dask-operator rollout restart deployment dask-operator istio-plugin

say "installing the gateway"
quietly kubectl -n istio-system rollout status deployment/istiod --timeout 5m
install istio-ingressgateway "$MESH/istio-gateway" -n team -f "$mesh/values/gateway.yaml"
address=$(kubectl get nodes -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}')
# Does what a load balancer does. kube-proxy then forwards the Service's ports of the node.
kubectl -n team patch service istio-ingressgateway --subresource status --type merge \
  -p "{\"status\": {\"loadBalancer\": {\"ingress\": [{\"ip\": \"$address\"}]}}}" >/dev/null
for deployment in dask-operator/dask-operator dask-operator/istio-plugin cert-manager/cert-manager team/istio-ingressgateway; do
  quietly kubectl -n "${deployment%/*}" rollout status "deployment/${deployment#*/}" --timeout 5m
done
quietly kubectl wait clusterissuer/demo-ca --for=condition=Ready --timeout 2m
quietly kubectl -n dask-operator wait daskoperatorplugin/istio --for=condition=Ready --timeout 2m
say "installed"
echo "$address"
