#!/bin/sh
# data.sh - training crops per second beside Pillow and torchvision, as ratios
# of medians.
#
# Both sides decode JPEG bytes that are in memory, cut a random crop, resize it
# to 224 x 224 with the same filter (ours has Pillow's bits) and flip it.
# usage: bench/data.sh [FOLDER] with JPEG files, in folders of classes or not;
# without it images of 375 to 500 pixels are made up. IMAGES are decoded in
# each round (default 1000).
set -eu
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/bench/lib.sh"

IMAGES=${IMAGES:-1000}
if ! has_peer torch torchvision PIL; then
    echo "bench/data.sh: skipped: $PEER_PYTHON has no torchvision (set PEER_PYTHON)" >&2
    exit 0
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

if [ $# -eq 0 ]; then
    echo 'made-up images; give a folder of photographs for figures that count' >&2
    "$BIN/imgsynth" imagenet "$dir/made-up" --classes 4 --train 64 --val 0 \
        --size-min 375 --size-max 500
    set -- "$dir/made-up/train"
fi
# a folder of files is a set of one class
if [ -z "$(find "$1"/ -mindepth 2 -type f -print 2>/dev/null | head -n 1)" ]; then
    mkdir -p "$dir/set/all"
    cp "$1"/* "$dir/set/all/"
    set -- "$dir/set"
fi
"$BIN/imgshard" pack -q --on-bad drop --split train -o "$dir/shards" "$1" >&2

machine
printf '%-34s %9s %9s %7s\n' 'training crops, img/s' ours torchvision ratio
for n in 1 "$THREADS"; do
    [ "$n" != 1 ] || [ ! -e "$dir/ours" ] || continue
    : > "$dir/ours"
    : > "$dir/theirs"
    round=0
    while [ "$round" -lt "$ROUNDS" ]; do
        round=$((round + 1))
        "$BIN/imgshard" bench "$dir/shards/train.json" -q --train \
            -t "$n" -n "$IMAGES" SOLVER.BATCH 32 > "$dir/line"
        field decode_img_s "$dir/line" >> "$dir/ours"
        "$PEER_PYTHON" "$TOP/bench/torch_data.py" "$1" "$IMAGES" "$n" \
            > "$dir/line"
        field img_s "$dir/line" >> "$dir/theirs"
    done
    row "$n threads / processes" "$dir/ours" "$dir/theirs"
done
