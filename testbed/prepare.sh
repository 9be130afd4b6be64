#!/usr/bin/env bash
# Installs missing Debian packages and builds the testbed. Does nothing if both are up to date.
# Usage: prepare.sh [PACKAGE...] (packages to install in addition)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

fail() { echo "prepare: $*" >&2; exit 1; }
say() { printf '== %s\n' "$*"; }

for program in cargo go python3 make; do
  command -v "$program" >/dev/null || fail "missing program: $program; install it first (see README.md)"
done

# In this order: for a node; for images; for the images' binaries; to link Rust programs.
packages=(containerd runc containernetworking-plugins iptables nftables buildah debootstrap binutils gcc libc6-dev "$@")
if [[ $CLUSTER == testbed ]]; then
  missing=()
  for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  if [[ ${#missing[@]} -gt 0 ]]; then
    [[ $(id -u) -eq 0 ]] || fail "missing packages: ${missing[*]}; run as root: apt-get install ${missing[*]} (or use CLUSTER=current)"
    say "installing packages: ${missing[*]}"
    apt-get update -qq
    mkdir -p "$CACHE"
    before=$(mktemp)
    dpkg-query -W -f '${Package}\n' | sort >"$before"
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
    # `make clean` removes these packages, and no others.
    dpkg-query -W -f '${Package}\n' | sort | comm -13 "$before" - >>"$CACHE/installed-packages"
    rm -f "$before"
  fi
fi

if [[ ! -x $TESTBED_BIN/testbed ]]; then
  say "building Kubernetes, etcd, CoreDNS, kubectl and Helm from source for the testbed"
  rm -rf "$TESTBED_BIN.part"
  "$here/build.sh" "$TESTBED_BIN.part"
  for tool in kubectl helm; do
    printf '#!/bin/sh\nexec "$(dirname "$0")/testbed" %s "$@"\n' "$tool" >"$TESTBED_BIN.part/$tool"
    chmod +x "$TESTBED_BIN.part/$tool"
  done
  # Older builds are not used any more.
  find "$CACHE/bin" -mindepth 1 -maxdepth 1 -type d ! -path "$TESTBED_BIN.part" -exec rm -rf {} +
  mv "$TESTBED_BIN.part" "$TESTBED_BIN"
fi
