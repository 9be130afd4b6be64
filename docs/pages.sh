#!/usr/bin/env bash
# Types the pages on the node of KUBECONFIG: see type_pages.py. `make pages` and `make e2e` run it.
# The pages install the operator and remove it again, so nothing is left afterwards.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../testbed/env.sh"

if [[ $CLUSTER == current ]]; then
  echo "pages: skipped, because they would remove the CustomResourceDefinitions of the current cluster"
  exit 0
fi
report_failure() {
  [[ $? == 0 ]] && return
  kubectl get daskoperatorplugins,daskclusters,daskworkergroups,daskjobs,deployments,pods -A >&2 || true
  kubectl -n dask-operator logs deployment/dask-operator --all-containers --tail 30 >&2 || true
}
trap report_failure EXIT

# What an earlier run left that failed.
helm uninstall dask-operator --namespace dask-operator --ignore-not-found --wait --timeout 1m >/dev/null
testbed load-image --dir "$TESTBED_DIR" "$IMAGES"/{dask,dask-operator,{ingress,istio,networkpolicy,decorator}-plugin,dask-plugin-python}.tar
python3 "$root/docs/type_pages.py" "$@"
# The last page shows how to remove the operator, and its last command needs the CRDs again. The tutorial's plugin is still there.
kubectl delete --ignore-not-found -f "$root/charts/dask-operator/files/crds.yaml" >/dev/null
kubectl delete --ignore-not-found namespace dask-operator team-a >/dev/null
