#!/bin/sh
# train.sh - one rank of a training run. Any launcher starts it, once for each:
#
#	accel-launch -n 4 -- sh train.sh
#	srun -n 4 accel-launch -- sh train.sh
#	mpirun -n 4 accel-launch -- sh train.sh
#	torchrun --no-python --nproc-per-node 4 accel-launch -n 1 -- sh train.sh
#
# MANIFEST	shards/train.json, of imgshard pack
# CONFIG	the recipe
# OUT		directory of the run; it goes on from OUT/ckpt
# SETTINGS	KEY VALUE pairs over the recipe
# FEED, WORKER	more options of imgshard feed and of accel-worker
set -eu
# shellcheck disable=SC2086
imgshard feed "$MANIFEST" -c "$CONFIG" --train --from "$OUT/ckpt" ${FEED:-} \
	${SETTINGS:-} |
	allreduce-ring -- accel-worker train -c "$CONFIG" -o "$OUT" ${WORKER:-} \
		${SETTINGS:-}
