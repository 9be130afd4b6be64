#!/usr/bin/env bash
# Runs the fuzz targets one after the other.
# Usage: run.sh SECONDS [TARGET...] (default: all targets)
#
# An input that panics, takes more than a second or needs more than 512 MB stops the run. It is saved in CACHE/fuzz/found.
# When the bug is fixed, add the input to corpus/TARGET under a descriptive name. Inputs that reach new code are collected
# in CACHE/fuzz/corpus, and the next run starts from them.
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
# Sanitizers need a nightly compiler, and the project has no unsafe code to check.
cargo fuzz build --fuzz-dir . --sanitizer none

host=$(rustc -vV | sed -n 's/^host: //p')
targets=("$@")
[[ $# -gt 0 ]] || mapfile -t targets < <(cargo fuzz list --fuzz-dir .)
for target in "${targets[@]}"; do
  say "fuzzing $target for $seconds s"
  mkdir -p "$CACHE/fuzz"/{corpus,found}/"$target"
  "$CARGO_TARGET_DIR/$host/release/$target" -max_total_time="$seconds" -rss_limit_mb=512 -timeout=1 -max_len=65536 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix="$CACHE/fuzz/found/$target/" \
    "$CACHE/fuzz/corpus/$target" "corpus/$target"
done
