#!/usr/bin/env bash
# Runs the tests of dask-kubernetes' own operator and client against this operator, on the cluster of KUBECONFIG with a node.
# The tests are those of the release in images/dask-requirements.txt, unmodified; upstream/conftest.py replaces their fixtures.
# Usage: upstream-tests.sh OPERATOR [PYTEST-OPTIONS]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
operator=$(realpath "$1")
shift
environment=$("$here/upstream.sh")
version=$(sed -n 's/^dask-kubernetes==//p' "$here/images/dask-requirements.txt")
work=$(mktemp -d)
trap 'rm -rf "$work"; kubectl delete --ignore-not-found -f "$here/upstream/never-pull.yaml" >/dev/null' EXIT

echo "== the tests of dask-kubernetes $version"
"$environment/bin/pip" download --quiet --no-deps --no-binary :all: --dest "$work" "dask-kubernetes==$version"
tar --extract --gzip --directory "$work" --strip-components 3 --file "$work"/dask_kubernetes-*.tar.gz --wildcards '*/operator/*/tests/*'
"$environment/bin/pip" install --quiet --target "$work/packages" --no-compile pytest==8.4.2 pytest-timeout==2.4.0
cp "$here/upstream/conftest.py" "$work"

echo "== the images"
# The tests name two images, which are that of the other tests here.
for name in dask-kubernetes:dev ghcr.io/dask/dask:latest; do
  python3 "$here/upstream/rename.py" "$IMAGES/dask.tar" "$work/image.tar" "$name"
  testbed load-image --dir "$TESTBED_DIR" "$work/image.tar"
  rm "$work/image.tar"
done
# Images with the tag `latest` are pulled each time, and there is no registry.
kubectl apply -f "$here/upstream/never-pull.yaml"
"$operator" crd | kubectl apply --server-side --force-conflicts -f - >/dev/null

echo "== the tests"
# The operator has to reach pods, so it runs in the node's network, whose name is made of the directory.
network=testbed-$(printf %s "$(realpath "$TESTBED_DIR")" | sha256sum | cut -c1-8)
OPERATOR=$operator IN_NODE="ip netns exec $network" \
  PYTHONPATH=$work/packages DASK_CONFIG=$work \
  "$environment/bin/python" -m pytest -p no:cacheprovider --rootdir "$work" --timeout 180 -o timeout_func_only=true -v "$@" "$work"
