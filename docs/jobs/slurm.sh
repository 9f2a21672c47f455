#!/bin/bash
# A map by a SLURM array: every task computes its share of the blocks, a last job makes the files.
#
#   export RUN=runs/demo ORTHO=ortho OUT=out SHARES=100
#   jid=$(sbatch --parsable --array=1-$SHARES docs/jobs/slurm.sh)
#   sbatch --dependency=afterany:$jid --wrap "bocage map merge $OUT"
#
# All tasks must see RUN, the imagery and OUT under the same paths. A task that is killed or runs out
# of time is simply submitted again, as in --array=7: its finished blocks are kept.
#SBATCH --job-name=bocage
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --mem=32G
#SBATCH --time=04:00:00
#SBATCH --requeue
set -euo pipefail

: "${RUN:?folder of a run, or model.safetensors}" "${ORTHO:?the photographs}"
: "${OUT:?folder that all tasks see}" "${SHARES:?number of shares}"
export OMP_NUM_THREADS="$SLURM_CPUS_PER_TASK"

# Exit status 1 may say that some blocks failed: the share has told so then, merge tells them again,
# and the task has done its work all the same.
told="$OUT/blocks/$(printf 'share-%04d-of-%04d.json' "$SLURM_ARRAY_TASK_ID" "$SHARES")"
rm -f "$told"
bocage map "$RUN" --aerial "$ORTHO" -o "$OUT" \
    --shard "$SLURM_ARRAY_TASK_ID/$SHARES" missing_tiles=report || { [ $? -eq 1 ] && [ -e "$told" ]; }
