#!/usr/bin/env bash
# Usage: with-cluster.sh control-plane|upstream|chaos|node|takeover COMMAND...
#
# Runs COMMAND with KUBECONFIG set to a cluster of this checkout. Beside the two usual ones, `upstream` is a control
# plane and `takeover` a node for what must have all definitions to itself, and `chaos` a control plane whose API
# server may be killed. A cluster that was not running is taken down afterwards, unless KEEP=1. With CLUSTER=current, the current kubeconfig is used as it is.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

kind=$1
shift
if [[ $CLUSTER == current ]]; then
  exec "$@"
fi
dir=$STATE/$kind
case $kind in
  node | takeover) options=() ;;
  *) options=(--control-plane-only) ;;
esac

was_up=0
if [[ -d $dir ]] && testbed status --dir "$dir" >/dev/null 2>&1; then was_up=1; fi
mkdir -p "$STATE"
testbed up --dir "$dir" "${options[@]}"
if [[ $was_up == 0 && ${KEEP:-0} != 1 ]]; then
  trap 'testbed down --dir "$dir"' EXIT
fi
KUBECONFIG=$(testbed kubeconfig --dir "$dir")
export KUBECONFIG TESTBED_DIR=$dir
"$@"
