#!/usr/bin/env bash
# Runs every fuzz target of the module, each for an equal share of the given seconds (at least 1).
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?usage: scripts/fuzz.sh SECONDS}

targets=()
while IFS=: read -r file func; do
	targets+=("$(dirname "$file") ${func#func }")
done < <(git grep --untracked -oE '^func Fuzz[A-Za-z0-9_]*' -- '*_test.go' | sort)
((${#targets[@]})) || { echo "fuzz: no targets found" >&2; exit 1; }

share=$((seconds / ${#targets[@]}))
((share > 0)) || share=1
for target in "${targets[@]}"; do
	read -r dir func <<<"$target"
	echo "fuzz: $func in $dir, ${share}s"
	go test -run '^$' -fuzz "^$func\$" -fuzztime "${share}s" "./$dir"
done
