#!/bin/sh
# The command of an AWS Batch array job: child k computes share k + 1 of its siblings'.
#
#   aws batch submit-job --job-name bocage --job-queue QUEUE --job-definition DEFINITION \
#       --array-properties size=100 --container-overrides \
#       'environment=[{name=SHARES,value=100},{name=OMP_NUM_THREADS,value=8}]'
#
# OMP_NUM_THREADS is the job's vCPUs: torch would count the machine's. OUT lies on a file system that
# all children mount (EFS, FSx). Imagery may be s3:// addresses. When the array is done, a job that
# depends on it runs:  bocage map merge "$OUT"
set -eu

: "${RUN:?folder of a run, or model.safetensors}" "${ORTHO:?the photographs}"
: "${OUT:?folder that all children see}" "${SHARES:?number of shares}"

# Exit status 1 may say that some blocks failed: the share has told so then, and merge tells them
# again. A child that ended with it would count as failed, and what depends on the array would never
# run.
share=$((AWS_BATCH_JOB_ARRAY_INDEX + 1))
told="$OUT/blocks/$(printf 'share-%04d-of-%04d.json' "$share" "$SHARES")"
rm -f "$told"
bocage map "$RUN" --aerial "$ORTHO" -o "$OUT" \
    --shard "$share/$SHARES" missing_tiles=report || { [ $? -eq 1 ] && [ -e "$told" ]; }
