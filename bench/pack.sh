#!/bin/sh
# pack.sh - files a second and memory of imgshard pack beside tar cf, in turns.
#
# tar copies bytes; pack decodes each image, sums up samples and shards (CRC-32,
# SHA-256), sorts, shuffles and writes two indexes. The rows with --check none
# are those without decoding. Memory is the largest resident set, of a tenth of
# the files and of all.
# usage: bench/pack.sh [FOLDER...] of images in folders of classes; without it
# FILES small images (default 100000) and PHOTOS of 375 to 500 pixels (default
# 400) are made up.
set -eu
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/bench/lib.sh"

FILES=${FILES:-100000}
PHOTOS=${PHOTOS:-400}
if ! command -v /usr/bin/time >/dev/null; then
    echo 'bench/pack.sh: skipped: no /usr/bin/time' >&2
    exit 0
fi
scratch

# many FOLDER: copies of 1000 made-up images of 32 pixels, in 10 classes
many() {
    "$BIN/imgsynth" imagenet "$dir/seed" -q --classes 10 --train 100 --val 0 \
        --size-min 32 --size-max 32 >/dev/null
    copy=0
    while [ $((copy * 1000)) -lt "$FILES" ]; do
        copy=$((copy + 1))
        for class in "$dir"/seed/train/*; do
            mkdir -p "$1/${class##*/}"
            cp -r "$class" "$1/${class##*/}/$copy"
        done
    done
}

if [ $# -eq 0 ]; then
    many "$dir/small"
    "$BIN/imgsynth" imagenet "$dir/made-up" -q --classes 4 \
        --train $((PHOTOS / 4)) --val 0 --size-min 375 --size-max 500 >/dev/null
    set -- "$dir/small" "$dir/made-up/train"
fi

# timed NAME COMMAND...: seconds to NAME.s, KiB to NAME.kib
timed() {
    timed_name=$1
    shift
    /usr/bin/time -o "$dir/time" -f '%e %M' "$@" >/dev/null
    cut -d' ' -f1 "$dir/time" >> "$dir/$timed_name.s"
    cut -d' ' -f2 "$dir/time" >> "$dir/$timed_name.kib"
}

machine
printf '%-34s %9s %9s %7s %9s %9s\n' 'files/s, MiB resident' ours tar ratio \
    'ours MiB' 'tar MiB'
for folder; do
    files=$(find "$folder"/ -type f | wc -l)
    rm -f "$dir"/*.s "$dir"/*.kib
    round=0
    while [ "$round" -lt "$ROUNDS" ]; do
        round=$((round + 1))
        for check in full none; do
            timed $check "$BIN/imgshard" pack -q -f --check $check \
                -j "$THREADS" --on-bad drop -o "$dir/shards" "$folder"
        done
        timed tar tar cf "$dir/out.tar" -C "$folder" .
    done
    for check in full none; do
        awk -v name="$(basename "$folder"), $files files, --check $check" \
            -v n="$files" -v a="$(median "$dir/$check.s")" \
            -v b="$(median "$dir/tar.s")" -v m="$(median "$dir/$check.kib")" \
            -v t="$(median "$dir/tar.kib")" 'BEGIN {
            printf "%-34s %9.0f %9.0f %7.2f %9.1f %9.1f\n", name, n / a, n / b,
                b / a, m / 1024, t / 1024 }'
    done
    mkdir "$dir/tenth"
    (cd "$folder" && find . -type f | awk 'NR % 10 == 1') |
        tar cf - -C "$folder" -T - | tar xf - -C "$dir/tenth"
    timed tenth "$BIN/imgshard" pack -q -f --on-bad drop -j "$THREADS" \
        -o "$dir/shards" "$dir/tenth"
    echo "  a tenth of them: $(awk '{ printf "%.1f", $1 / 1024 }' \
        "$dir/tenth.kib") MiB resident"
    rm -rf "$dir/tenth"
done
