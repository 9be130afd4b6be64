#!/usr/bin/env bash
# Fuzzes each target, one after the other: run.sh SECONDS [TARGET...]
#
# An input that panics, takes more than a second or 512 MB ends the run and is kept in CACHE/fuzz/found. Once its cause is
# mended, it belongs into corpus/TARGET under a name that says what it is. Inputs that merely reach new code are collected
# in CACHE/fuzz/corpus, where the next run goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../testbed/env.sh
seconds=$1
shift
version=0.13.1
say() { printf '== %s\n' "$*"; }

if [[ ! -x $CACHE/fuzz/cargo-fuzz-$version/bin/cargo-fuzz ]]; then
  say "building cargo-fuzz"
  cargo install --quiet --locked --root "$CACHE/fuzz/cargo-fuzz-$version" --version "$version" cargo-fuzz
fi
export PATH=$CACHE/fuzz/cargo-fuzz-$version/bin:$PATH
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
# Address sanitizers need a nightly compiler, and there is no unsafe code of ours that they could look at.
cargo fuzz build --fuzz-dir . --sanitizer none

host=$(rustc -vV | sed -n 's/^host: //p')
targets=("$@")
[[ $# -gt 0 ]] || mapfile -t targets < <(cargo fuzz list --fuzz-dir .)
for target in "${targets[@]}"; do
  say "$target"
  mkdir -p "$CACHE/fuzz"/{corpus,found}/"$target"
  "$CARGO_TARGET_DIR/$host/release/$target" -max_total_time="$seconds" -rss_limit_mb=512 -timeout=1 -max_len=65536 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix="$CACHE/fuzz/found/$target/" \
    "$CACHE/fuzz/corpus/$target" "corpus/$target"
done
