#!/usr/bin/env bash
# Publishes the crates for authors of plugins. A version that the registry already has is left out: the protocol has
# its own version, which does not change with every release.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

metadata=$(cargo metadata --locked --no-deps --format-version 1)
packages=()
for package in dask-plugin-protocol dask-plugin-server; do
  version=$(jq -er --arg name "$package" '.packages[] | select(.name == $name).version' <<<"$metadata")
  # With the registry named, the package of the workspace is not consulted.
  if cargo info --quiet --registry crates-io "$package@$version" >/dev/null 2>&1; then
    echo "$package $version is published already"
  else
    packages+=(--package "$package")
  fi
done
[[ ${#packages[@]} -eq 0 ]] || cargo publish --locked "${packages[@]}"
