#!/bin/sh
# endtoend.sh - a whole training beside PyTorch: `make -C pipelines imagenet` and
# the same recipe in the style of torchvision's script, from the same folder;
# images per second, seconds of training with everything before the first step,
# top-1.
#
# usage: bench/endtoend.sh FOLDER [SEED...], of train/CLASS/FILE and val/CLASS/FILE
# (default: seeds 1 2 3). EPOCHS (6) and PREC (fp32) change the recipe, which is
# endtoend.yaml. Ours packs the folder into shards once; PyTorch reads the files.
set -eu
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/bench/lib.sh"

EPOCHS=${EPOCHS:-6}
PREC=${PREC:-fp32}
if [ $# -eq 0 ]; then
    echo 'usage: bench/endtoend.sh FOLDER [SEED...]' >&2
    exit 64
fi
folder=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- 1 2 3
need_peer torch torchvision
scratch

# pipeline GOAL SEED: messages go to a file
pipeline() {
    make --no-print-directory -C "$TOP/pipelines" "$1" BIN="$BIN" BUILD=: \
        IMAGENET="$folder" OUT="$dir/out" CONFIG="$TOP/bench/endtoend.yaml" \
        EPOCHS="$EPOCHS" PREC="$PREC" SEED="$2" THREADS=1 SAVE_EVERY=0 \
        > "$dir/log" 2>&1 || {
        tail -n 5 "$dir/log" >&2
        exit 1
    }
}

# rate SECONDS: the line of a run of ours that took so long
rate() {
    jq -s -r --argjson s "$1" '[.[] | select(.phase == "train")] |
        {img_s: ((last.samples - first.samples) / (last.t - first.t) * 1000),
         train_s: $s} | tojson' "$dir/out/metrics.jsonl"
}

# line WHO SEED FILE: a row, and its numbers for the end
line() {
    for f in img_s train_s top1; do
        field $f "$3" >> "$dir/$1.$f"
    done
    printf '%-8s %4s %9.1f %9.1f %7.4f\n' "$1" "$2" "$(field img_s "$3")" \
        "$(field train_s "$3")" "$(field top1 "$3")"
}

OMP_NUM_THREADS=$THREADS
export OMP_NUM_THREADS
ROUNDS=$#
machine
echo "endtoend.yaml, $EPOCHS epochs, $PREC"
printf '%-8s %4s %9s %9s %7s\n' '' seed img/s seconds top-1
pipeline imagenet-pack 0
for seed; do
    rm -rf "$dir/out/ckpt" "$dir/out/metrics.jsonl"
    begin=$(date +%s.%N)
    pipeline imagenet-train "$seed"
    rate "$(echo "$(date +%s.%N) - $begin" | bc)" > "$dir/line"
    pipeline imagenet "$seed"
    cat "$dir/out/score.json" >> "$dir/line"
    line ours "$seed" "$dir/line"
    GLIBC_TUNABLES=$TUNED "$PEER_PYTHON" "$TOP/bench/torch_endtoend.py" "$folder" "$seed" "$EPOCHS" \
        "$PREC" "$THREADS" > "$dir/line"
    line PyTorch "$seed" "$dir/line"
done
row 'images per second, medians' "$dir/ours.img_s" "$dir/PyTorch.img_s"
row 'seconds, medians' "$dir/ours.train_s" "$dir/PyTorch.train_s"
for who in ours PyTorch; do
    sort -g "$dir/$who.top1" | awk -v who=$who '{ v[NR] = $1; sum += $1 }
        END { printf "top-1 of %s: mean %.4f, %.4f to %.4f\n", who, sum / NR,
              v[1], v[NR] }'
done
