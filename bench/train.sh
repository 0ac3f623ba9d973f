#!/bin/sh
# train.sh - training beside PyTorch: images per second, the time to the first
# finished step, peak memory; ratios of medians.
#
# The same network, batch and precision on made-up images in memory, so that
# only the engine is compared. usage: bench/train.sh [CASE...], where a case is
# MODEL:SIZE:BATCH:PRECISION. STEPS steps are timed in each round (default 6),
# beside each of PEERS (default "eager"; "eager compile").
set -eu
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/bench/lib.sh"

STEPS=${STEPS:-6}
PEERS=${PEERS:-eager}
[ $# -gt 0 ] || set -- resnet50:224:16:fp32 resnet50:224:16:bf16 \
    resnet18:64:64:fp32 resnet18:64:64:bf16
need_peer torch torchvision
scratch

# note WHO: the numbers of a line
note() {
    for f in img_s first_s peak_rss; do
        field $f "$dir/line" >> "$dir/$1.$f"
    done
}

machine
printf '%-36s %8s %8s %6s %6s %6s %6s %6s\n' '' ours PyTorch ratio 'first s' ratio MiB ratio
for case in "$@"; do
    model=$(echo "$case" | cut -d: -f1)
    size=$(echo "$case" | cut -d: -f2)
    batch=$(echo "$case" | cut -d: -f3)
    precision=$(echo "$case" | cut -d: -f4)
    rm -f "$dir"/*.*
    round=0
    while [ "$round" -lt "$ROUNDS" ]; do
        round=$((round + 1))
        "$BIN/accel-worker" bench -q -t "$THREADS" -n "$STEPS" --warm 2 \
            MODEL.NAME "$model" INPUT.SIZE "$size" SOLVER.BATCH "$batch" \
            SOLVER.PRECISION "$precision" > "$dir/line"
        note ours
        for peer in $PEERS; do
            GLIBC_TUNABLES=$TUNED "$PEER_PYTHON" "$TOP/bench/torch_train.py" "$model" \
                "$size" "$batch" "$precision" "$STEPS" "$THREADS" "$peer" > "$dir/line"
            note "$peer"
        done
    done
    for peer in $PEERS; do
        awk -v name="$case $peer" -v a="$(median "$dir/ours.img_s")" -v b="$(median "$dir/$peer.img_s")" \
            -v c="$(median "$dir/ours.first_s")" -v d="$(median "$dir/$peer.first_s")" \
            -v e="$(median "$dir/ours.peak_rss")" -v f="$(median "$dir/$peer.peak_rss")" 'BEGIN {
            printf "%-36s %8.1f %8.1f %6.2f %6.2f %6.2f %6.0f %6.2f\n", name, a, b, a / b, c, c / d, e / 1048576, e / f }'
    done
done
