#!/usr/bin/env bash
# Runs COMMAND with KUBECONFIG set to a cluster of this checkout, which is started if necessary.
# Usage: with-cluster.sh control-plane|chart|upstream|chaos|node|takeover|mesh|showcase COMMAND...
#
# `control-plane` and `node` are shared by most tests. `chart`, `upstream` and `takeover` are for commands that replace the
# CustomResourceDefinitions, and the API server of `chaos` may be killed. On `mesh` and `showcase`, Istio is installed, whose
# webhooks would be in the way of other tests. A cluster that was not running before is removed afterwards, unless KEEP=1. With CLUSTER=current, COMMAND runs with the current kubeconfig.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

kind=$1
shift
if [[ $CLUSTER == current ]]; then
  exec "$@"
fi
dir=$STATE/$kind
options=()
[[ $kind =~ ^(node|takeover|mesh|showcase)$ ]] || options=(--control-plane-only)

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
