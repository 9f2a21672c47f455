#!/bin/bash
# A map by a SLURM array: every task computes its share of the blocks, a last job makes the files.
#
#   jid=$(sbatch --parsable --array=1-100 docs/jobs/slurm.sh)
#   sbatch --dependency=afterany:$jid --wrap "bocage map merge $OUT"
#
# All tasks must see RUN, the imagery and OUT under the same paths. A task that is killed or runs out
# of time is simply submitted again, with the same number: its finished blocks are kept.
#SBATCH --job-name=bocage
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --mem=32G
#SBATCH --time=04:00:00
#SBATCH --requeue
set -euo pipefail

: "${RUN:?a run's folder or a model.safetensors}" "${ORTHO:?the photographs}" "${OUT:?shared folder}"
export OMP_NUM_THREADS="$SLURM_CPUS_PER_TASK"

# Exit status 1 says that some blocks failed and are listed; the other shares go on regardless.
exec bocage map "$RUN" --aerial "$ORTHO" -o "$OUT" \
    --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" missing_tiles=report
