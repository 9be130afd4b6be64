#!/usr/bin/env bash
# Runs targets of the Makefile as stages, one after the other, and prints how long each of them took. Stops at the first
# stage that fails. `make test` runs this script.
# Usage: stages.sh TARGET... (in the directory of the Makefile; MAKE is the make program)
set -uo pipefail

make=${MAKE:-make}
stages=("$@")
names=()
times=()
results=()

[[ $# -ge 1 ]] || { echo "usage: stages.sh TARGET..." >&2; exit 2; }

# duration SECONDS: as minutes and seconds.
duration() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# describe TARGET: prints its help text from the Makefile.
describe() { sed -n "s/^$1:.*## //p" Makefile; }

print_table() {
  local n
  printf '\n%-16s %8s  %s\n' stage time result
  for n in "${!names[@]}"; do
    printf '%-16s %8s  %s\n' "${names[n]}" "$(duration "${times[n]}")" "${results[n]}"
  done
  printf '%-16s %8s\n' total "$(duration $SECONDS)"
}

# Stages that are done are prerequisites of later ones. `-o` keeps make from running them again.
done_stages=()
for stage in "${stages[@]}"; do
  printf '\n== stage %d of %d: %s (%s)\n' $((${#names[@]} + 1)) ${#stages[@]} "$stage" "$(describe "$stage")"
  start=$SECONDS
  code=0
  "$make" --no-print-directory "${done_stages[@]}" "$stage" || code=$?
  names+=("$stage")
  times+=($((SECONDS - start)))
  if [[ $code != 0 ]]; then
    results+=("failed")
    print_table
    skipped=${stages[*]:${#names[@]}}
    printf '\nstage %s failed (exit code %d); not run: %s. To repeat it: make %s\n' \
      "$stage" "$code" "${skipped:-none}" "$stage" >&2
    exit "$code"
  fi
  results+=("passed")
  done_stages+=(-o "$stage")
done
print_table
echo "all ${#stages[@]} stages passed"
