#!/bin/sh
# A map on a Ray cluster that runs already; Ray gives blocks to whoever is free, and starts actors
# anew that are lost. The driver makes the files in the end.
#
#   ray start --head --port=6379            # on the first machine
#   ray start --address=HEAD:6379           # on every other one
#   sh docs/jobs/ray.sh
set -eu

exec bocage map "$RUN" --aerial "$ORTHO" -o "$OUT" --engine ray --address "${HEAD:-auto}"
