#!/usr/bin/env bash
# What the demonstrations share: numbered steps, and waiting. To be sourced by a script that has one line `step "…"` per step.
steps=$(grep -c '^step "' "$0")
number=0
step() { printf '\n\033[1m== step %d of %d: %s\033[0m\n' $((number += 1)) "$steps" "$*"; }
shown() { printf '   %s\n' "$@"; }
# gone RESOURCE...: whether none of these objects exists.
gone() { [[ -z $(kubectl get "$@" --ignore-not-found -o name) ]]; }
# until_true COMMAND...: waits for conditions that kubectl wait does not support.
until_true() {
  local deadline=$((SECONDS + 180))
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.2
  done
}
