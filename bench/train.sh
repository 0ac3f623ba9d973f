#!/bin/sh
# train.sh - training steps per second beside PyTorch, as ratios of medians.
#
# The same network, batch and precision on made-up images in memory, so that
# only the engine is compared. usage: bench/train.sh [CASE...], where a case is
# MODEL:SIZE:BATCH:PRECISION. STEPS steps are timed in each round (default 6).
set -eu
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/bench/lib.sh"

STEPS=${STEPS:-6}
[ $# -gt 0 ] || set -- resnet50:224:16:fp32 resnet50:224:16:bf16 \
    resnet18:64:64:fp32 resnet18:64:64:bf16
if ! has_peer torch torchvision; then
    echo "bench/train.sh: skipped: $PEER_PYTHON has no torch (set PEER_PYTHON)" >&2
    exit 0
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

machine
printf '%-34s %9s %9s %7s\n' 'training, img/s' ours PyTorch ratio
for case in "$@"; do
    model=$(echo "$case" | cut -d: -f1)
    size=$(echo "$case" | cut -d: -f2)
    batch=$(echo "$case" | cut -d: -f3)
    precision=$(echo "$case" | cut -d: -f4)
    : > "$dir/ours"
    : > "$dir/theirs"
    round=0
    while [ "$round" -lt "$ROUNDS" ]; do
        round=$((round + 1))
        "$BIN/accel-worker" bench -q -t "$THREADS" -n "$STEPS" --warm 2 \
            MODEL.NAME "$model" INPUT.SIZE "$size" SOLVER.BATCH "$batch" \
            SOLVER.PRECISION "$precision" > "$dir/line"
        field img_s "$dir/line" >> "$dir/ours"
        "$PEER_PYTHON" "$TOP/bench/torch_train.py" "$model" "$size" "$batch" \
            "$precision" "$STEPS" "$THREADS" > "$dir/line"
        field img_s "$dir/line" >> "$dir/theirs"
    done
    row "$case" "$dir/ours" "$dir/theirs"
done
