#!/usr/bin/env bash
# Installs the Debian packages that are missing and builds the testbed. Nothing to do the second time.
# Usage: prepare.sh [further packages]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

fail() { echo "prepare: $*" >&2; exit 1; }
say() { printf '== %s\n' "$*"; }

for program in cargo go python3 make; do
  command -v "$program" >/dev/null || fail "missing: $program; install it first (see README.md)"
done

# What each is for: a node; images; the images' binaries; linking Rust programs.
packages=(containerd runc containernetworking-plugins iptables nftables buildah debootstrap binutils gcc libc6-dev "$@")
if [[ $CLUSTER == testbed ]]; then
  missing=()
  for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  if [[ ${#missing[@]} -gt 0 ]]; then
    [[ $(id -u) -eq 0 ]] || fail "missing: ${missing[*]}; as root: apt-get install ${missing[*]} (or use CLUSTER=current)"
    say "installing ${missing[*]}"
    apt-get update -qq
    mkdir -p "$CACHE"
    before=$(mktemp)
    dpkg-query -W -f '${Package}\n' | sort >"$before"
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
    # `make clean` removes these again, and only these.
    dpkg-query -W -f '${Package}\n' | sort | comm -13 "$before" - >>"$CACHE/installed-packages"
    rm -f "$before"
  fi
fi

if [[ ! -x $TESTBED_BIN/testbed ]]; then
  say "building the testbed: Kubernetes, etcd, CoreDNS, kubectl and Helm from source"
  rm -rf "$TESTBED_BIN.part"
  "$here/build.sh" "$TESTBED_BIN.part"
  for tool in kubectl helm; do
    printf '#!/bin/sh\nexec "$(dirname "$0")/testbed" %s "$@"\n' "$tool" >"$TESTBED_BIN.part/$tool"
    chmod +x "$TESTBED_BIN.part/$tool"
  done
  # Older builds are of no use any more.
  find "$CACHE/bin" -mindepth 1 -maxdepth 1 -type d ! -path "$TESTBED_BIN.part" -exec rm -rf {} +
  mv "$TESTBED_BIN.part" "$TESTBED_BIN"
fi
