#!/bin/sh
# The command of an AWS Batch array job: child k computes share k + 1 of its siblings'.
#
#   aws batch submit-job --job-name bocage --job-queue QUEUE --job-definition DEFINITION \
#       --array-properties size=100 --container-overrides environment=[{name=SHARES,value=100}]
#
# OUT lies on a file system that all children mount (EFS, FSx). Imagery may be s3:// addresses. When
# the array is done, a job that depends on it runs:  bocage map merge "$OUT"
set -eu

exec bocage map "$RUN" --aerial "$ORTHO" -o "$OUT" \
    --shard "$((AWS_BATCH_JOB_ARRAY_INDEX + 1))/$SHARES" missing_tiles=report
