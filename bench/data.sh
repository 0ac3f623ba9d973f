#!/bin/sh
# data.sh - training crops per second beside Pillow and torchvision, as ratios
# of medians.
#
# Both sides decode JPEG bytes that are in memory, cut a random crop, resize it
# to 224 x 224 with the same filter (ours has Pillow's bits) and flip it. Ours
# does it with the files as they are and as pack --jpeg rows makes them. Rates of
# CPU time are those to look at where other programs run. Then what a DataLoader
# and imgshard feed need until their first batch of 32, and how much memory.
# Beside other loaders, in CPU time of one thread: webdataset with Pillow if
# PEER_PYTHON has it, NVIDIA DALI's CPU operators if DALI_PYTHON names an
# interpreter that has those.
# usage: bench/data.sh [FOLDER] with JPEG files, in folders of classes or not;
# without it images of 375 to 500 pixels are made up. IMAGES are decoded in
# each round (default 1000).
set -eu
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/bench/lib.sh"

IMAGES=${IMAGES:-1000}
need_peer torch torchvision PIL
scratch

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
for jpeg in keep rows; do
    "$BIN/imgshard" pack -q --jpeg $jpeg --on-bad drop --split train \
        -o "$dir/$jpeg" "$1" >&2
done

# ours KEEP|ROWS THREADS: a measurement, to the files of rates
ours() {
    "$BIN/imgshard" bench "$dir/$1/train.json" -q --train \
        -t "$2" -n "$IMAGES" SOLVER.BATCH 32 > "$dir/line"
    field decode_img_s "$dir/line" >> "$dir/$1.$2"
    field decode_img_s_core "$dir/line" >> "$dir/$1.core.$2"
}

# feed [OPTION...]: of IMAGES images, batches of 32: seconds and MiB
feed() {
    /usr/bin/time -o "$dir/time" -f '%e %M' "$BIN/imgshard" feed \
        "$dir/keep/train.json" -q --train -t "$THREADS" --epochs 100000 "$@" \
        SOLVER.BATCH 32 > /dev/null
}

theirs() {
    "$PEER_PYTHON" "$TOP/bench/torch_data.py" "$1" "$IMAGES" "$2" > "$dir/line"
    field img_s "$dir/line" >> "$dir/theirs.$2"
    field img_s_core "$dir/line" >> "$dir/theirs.core.$2"
    for name in first_s start_s mib; do
        field $name "$dir/line" >> "$dir/theirs.$name"
    done
}

# other NAME PYTHON FOLDER|SHARD: a measurement of another loader
other() {
    "$2" "$TOP/bench/loader_data.py" "$1" "$3" "$IMAGES" \
        > "$dir/line" 2> "$dir/other.err" || {
        cat "$dir/other.err" >&2
        return 1
    }
    field img_s_core "$dir/line" >> "$dir/other.$1"
}

machine
printf '%-34s %9s %9s %7s\n' 'training crops, img/s' ours torchvision ratio
for n in 1 "$THREADS"; do
    [ ! -e "$dir/theirs.$n" ] || continue
    round=0
    while [ "$round" -lt "$ROUNDS" ]; do
        round=$((round + 1))
        ours keep "$n"
        ours rows "$n"
        theirs "$1" "$n"
        [ "$n" = 1 ] || continue
        ! has_peer webdataset ||
            other webdataset "$PEER_PYTHON" "$dir/keep/train-000000.tar"
        [ -z "${DALI_PYTHON:-}" ] || other dali "$DALI_PYTHON" "$1"
    done
    for jpeg in keep rows; do
        row "$n threads / processes, $jpeg" "$dir/$jpeg.$n" "$dir/theirs.$n"
        [ "$n" != 1 ] ||
            row "  a second of CPU time, $jpeg" "$dir/$jpeg.core.$n" \
                "$dir/theirs.core.$n"
    done
done
for name in webdataset dali; do
    [ ! -e "$dir/other.$name" ] ||
        row "a second of CPU time beside $name" "$dir/keep.core.1" \
            "$dir/other.$name"
done
[ "$THREADS" -gt 1 ] || exit 0

awk -v a="$(median "$dir/keep.$THREADS")" -v b="$(median "$dir/keep.1")" \
    -v n="$THREADS" 'BEGIN { printf "%d threads beside 1: %.2f\n", n, a / b }'
command -v /usr/bin/time >/dev/null || exit 0
round=0
while [ "$round" -lt "$ROUNDS" ]; do
    round=$((round + 1))
    feed --limit-steps 1
    cut -d' ' -f1 "$dir/time" >> "$dir/ours.first"
    feed --limit-steps $((IMAGES / 32))
    cut -d' ' -f2 "$dir/time" | awk '{ print $1 / 1024 }' >> "$dir/ours.mib"
done
printf '%-34s %9s %9s\n' '' ours DataLoader
printf '%-34s %9.2f %9.2f  (%.2f with its imports)\n' \
    'first batch of 32, s' "$(median "$dir/ours.first")" \
    "$(median "$dir/theirs.first_s")" "$(median "$dir/theirs.start_s")"
printf '%-34s %9.0f %9.0f\n' 'memory, MiB' "$(median "$dir/ours.mib")" \
    "$(median "$dir/theirs.mib")"
