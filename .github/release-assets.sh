#!/usr/bin/env bash
# Creates the files of a release: chart, CRDs, schemas of the protocol, SBOM, programs, the krew manifest and checksums of all.
# Usage: release-assets.sh DIRECTORY IMAGE [PROGRAM...]. The chart installs IMAGE with the version of the chart as tag.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dask-operator}
cyclonedx=0.5.9

fail() { echo "release-assets.sh: $*" >&2; exit 1; }

[[ $# -ge 2 ]] || fail "usage: release-assets.sh DIRECTORY IMAGE [PROGRAM...]"
out=$(realpath -m "$1")
image=$2
shift 2
rm -rf "$out"
mkdir -p "$out"
[[ $# -eq 0 ]] || cp "$@" "$out"
cd "$root"

work=$(mktemp -d)
clean_up() { rm -rf "$work"; }
trap clean_up EXIT

# The chart in the repository has no registry in the name of the image.
cp -r charts/dask-operator "$work"
sed -i "/^image:/,/^[^ #]/ s|^  name: dask-operator\$|  name: $image|" "$work/dask-operator/values.yaml"
# Artifact Hub scans the images that the chart installs.
version=$(sed -n 's/^version: //p' charts/dask-operator/Chart.yaml)
printf '  artifacthub.io/images: |\n    - name: dask-operator\n      image: %s:%s\n' "$image" "$version" \
  >>"$work/dask-operator/Chart.yaml"
[[ $version != *-* ]] || printf '  artifacthub.io/prerelease: "true"\n' >>"$work/dask-operator/Chart.yaml"
helm template release "$work/dask-operator" | grep -qF "image: \"$image:" || fail "the chart does not install $image"
helm package "$work/dask-operator" --destination "$out" >/dev/null

cp charts/dask-operator/files/crds.yaml "$out/crds.yaml"
tar -C plugin-protocol -czf "$out/plugin-protocol-schema.tar.gz" schema

if [[ ! -x $cache/cargo-cyclonedx-$cyclonedx/bin/cargo-cyclonedx ]]; then
  cargo install --quiet --locked --root "$cache/cargo-cyclonedx-$cyclonedx" --version "$cyclonedx" cargo-cyclonedx
fi
# cargo-cyclonedx writes its files into the source tree, so it gets a copy of the sources.
mkdir "$work/source"
git archive HEAD | tar -x -C "$work/source"
(cd "$work/source" && "$cache/cargo-cyclonedx-$cyclonedx/bin/cargo-cyclonedx" cyclonedx --quiet --format json \
  --describe binaries --target x86_64-unknown-linux-gnu --no-build-deps)
lists=("$work"/source/controller/*.cdx.json)
[[ ${#lists[@]} -eq 1 ]] || fail "expected one SBOM of the controller, but found ${lists[*]}"
mv "${lists[0]}" "$out/dask-operator.cdx.json"

if compgen -G "$out/kubectl-dask-*.tar.gz" >/dev/null; then
  .github/krew.sh "$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)" "$out" >"$work/dask.yaml"
  mv "$work/dask.yaml" "$out/dask.yaml"
fi

cd "$out"
sha256sum -- * >SHA256SUMS
