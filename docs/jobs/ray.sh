#!/bin/sh
# A map on a Ray cluster that runs already; Ray gives blocks to whoever is free, and starts actors
# anew that are lost. The driver makes the files in the end.
#
#   ray start --head --port=6379            # on the first machine
#   ray start --address=HEAD:6379           # on every other one
#   HEAD=… sh docs/jobs/ray.sh             # without HEAD: on a machine of the cluster
set -eu

: "${RUN:?folder of a run, or model.safetensors}" "${ORTHO:?the photographs}"
: "${OUT:?folder that all machines see}"

# Exit status 1 says that some blocks failed: the map is there, with nodata in their place.
exec bocage map "$RUN" --aerial "$ORTHO" -o "$OUT" --engine ray \
    --address "${HEAD:-auto}${HEAD:+:6379}"
