#!/usr/bin/env bash
# Runs the bench program with the clusters that it needs: a control plane for our operator, another one for dask-kubernetes,
# whose CustomResourceDefinitions differ, and kwok. With CLUSTER=current only our operator is measured, on that cluster.
# Usage: bench.sh PROGRAM [ARGUMENT...]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

KWOK=$("$here/kwok.sh")
export KWOK
if [[ $CLUSTER == current ]]; then
  exec "$@"
fi
UPSTREAM=$("$here/upstream.sh")
export UPSTREAM
"$here/with-cluster.sh" upstream bash -c '
  export UPSTREAM_KUBECONFIG=$KUBECONFIG
  exec "$0" control-plane "$@"' "$here/with-cluster.sh" "$@"
