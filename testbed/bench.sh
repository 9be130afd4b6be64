#!/usr/bin/env bash
# Usage: bench.sh PROGRAM [ARGUMENT...]
#
# Runs PROGRAM with all that it measures on: a control plane for ours, another one for dask-kubernetes' operator, whose
# definitions differ, and kwok. With CLUSTER=current only ours is measured, on that cluster.
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
