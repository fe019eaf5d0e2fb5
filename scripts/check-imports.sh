#!/usr/bin/env bash
# Checks who imports whom. The table below is the architecture: a package may import only the packages of this module that its
# line names, its tests also those behind the bar, and other people's libraries only with the word libs (tests may always).
# Only cmd/gputrain imports cpu and gpu: models and training know devices by the contract in backend.
set -euo pipefail
cd "$(dirname "$0")/.."

table() {
	cat <<'TABLE'
sparse:
loss:
optim:
data:                 libs sparse
features:             libs sparse
metrics:              libs
decide:               libs sparse metrics
triage:               libs
backend:              sparse loss optim
backend/backendtest:  libs sparse loss optim backend
cpu/internal/vec:     libs
cpu:                  libs sparse loss optim backend cpu/internal/vec | backend/backendtest
gpu:                  libs sparse loss optim backend | backend/backendtest
model:                libs sparse loss optim backend | cpu
checkpoint:           libs
classifier:           libs sparse loss optim backend data features metrics decide model checkpoint | cpu
train:                libs sparse loss optim backend data features metrics decide model checkpoint classifier | cpu
bench:                libs sparse loss optim backend model | cpu
cmd/gputrain:         libs sparse loss optim backend data features metrics decide triage model checkpoint classifier train bench cpu gpu
TABLE
}

module=$(go list -m)
failed=0
for experiment in "" simd; do
	for tags in "" cuda; do
		# -e: whether a package builds is not the question here.
		GOEXPERIMENT=$experiment go list -e -tags "$tags" -f '{{.ImportPath}} {{join .Imports " "}} | {{join .TestImports " "}} {{join .XTestImports " "}}' ./... |
			awk -v module="$module/" -v build="GOEXPERIMENT='$experiment' tags='$tags'" '
				function fail(text) { print "check-imports: " text " (" build ")" > "/dev/stderr"; bad = 1 }
				FNR == NR { # the table
					pkg = $1; sub(/:$/, "", pkg); known[pkg] = 1; test = 0
					for (i = 2; i <= NF; i++) {
						if ($i == "|") { test = 1; continue }
						may[pkg, $i, 1] = 1
						if (!test) may[pkg, $i, 0] = 1
					}
					next
				}
				{
					seen++
					pkg = substr($1, length(module) + 1)
					if (!(pkg in known)) { fail(pkg " is not in the table of scripts/check-imports.sh"); next }
					test = 0
					for (i = 2; i <= NF; i++) {
						dep = $i
						if (dep == "|") { test = 1; continue }
						if (index(dep, module) == 1) {
							dep = substr(dep, length(module) + 1)
							if (dep != pkg && !((pkg, dep, test) in may)) fail(pkg (test ? " (tests)" : "") " must not import " dep)
						} else if (dep ~ /^[^\/]*\./ && !test && !((pkg, "libs", 0) in may)) {
							fail(pkg " must not import " dep ": it may use the standard library only")
						}
					}
				}
				END { if (!seen) fail("no packages found"); exit bad }
			' <(table) - || failed=1
	done
done
exit "$failed"
