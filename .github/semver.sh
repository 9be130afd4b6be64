#!/usr/bin/env bash
# Checks that the published crates do not break their public interface without a new major or minor version. The
# baseline is the last release before this commit. The first run builds cargo-semver-checks for minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dask-operator}
version=0.51.0

# HEAD itself may be a release, which would be compared with itself.
if ! baseline=$(git describe --tags --abbrev=0 --match 'v[0-9]*' HEAD^ 2>/dev/null); then
  echo "there is no earlier release to compare with"
  exit 0
fi

program=$cache/cargo-semver-checks-$version/bin/cargo-semver-checks
if [[ ! -x $program ]]; then
  echo "== building cargo-semver-checks"
  cargo install --quiet --locked --root "$cache/cargo-semver-checks-$version" --version "$version" cargo-semver-checks
fi
"$program" semver-checks --baseline-rev "$baseline" --all-features \
  --package dask-plugin-protocol --package dask-plugin-server
