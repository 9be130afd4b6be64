#!/usr/bin/env bash
# Prints the path of Helm 3, which it builds from source the first time. The testbed has Helm 4, and the chart supports both.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

version=v3.22.0
helm=$CACHE/helm3/$version/helm
if [[ ! -x $helm ]]; then
  echo "== building Helm $version from source" >&2
  mkdir -p "$(dirname "$helm")"
  flags="-s -w -X helm.sh/helm/v3/internal/version.version=$version"
  # The version that Helm assumes without a cluster. Its default is Kubernetes 1.20.
  flags+=" -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37"
  GOBIN=$(dirname "$helm")/part go install -ldflags "$flags" "helm.sh/helm/v3/cmd/helm@$version" >&2
  mv "$(dirname "$helm")/part/helm" "$helm"
  rmdir "$(dirname "$helm")/part"
fi
echo "$helm"
