#!/bin/sh
# feed.sh - what batches in shared memory are worth between imgshard feed and
# accel-worker on the CPU: --shm auto and off in turns.
#
# CPU time of both programs in ms a 1000 images, and images per second of the pipe
# as a whole, starts and all. The network is small (WIDTH, default 4), so that feeding
# shows; raw shards hold pixels of 256, jpeg ones photographs.
# usage: bench/feed.sh; IMAGES (default 4000) made-up images, a quarter of them in
# cases of 224 pixels, CASES of "PROGRAM:FORM:SIZE"
set -eu
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/bench/lib.sh"

IMAGES=${IMAGES:-4000}
WIDTH=${WIDTH:-4}
CASES=${CASES:-predict:jpeg:32 predict:raw:224 predict:jpeg:224 train:jpeg:32 train:raw:224}
if ! command -v /usr/bin/time >/dev/null; then
    echo 'bench/feed.sh: skipped: no /usr/bin/time' >&2
    exit 0
fi
scratch
cd "$dir"

cat > recipe.yaml << X
_BASE_: $TOP/configs/resnet18-demo.yaml
MODEL.WIDTH: $WIDTH
MODEL.CLASSES: 4
SOLVER.EPOCHS: 1
SOLVER.BATCH: 64
X

# pack NAME IMAGES MIN MAX [OPTION]...: shards of made-up images of that many pixels
pack() {
    name=$1
    "$BIN/imgsynth" imagenet "$name.d" -q --classes 4 --train $(($2 / 4)) --val 0 \
        --size-min "$3" --size-max "$4" > /dev/null
    shift 4
    "$BIN/imgshard" pack -q -o "$name" "$@" "$name.d/train" > /dev/null
    rm -rf "$name.d"
}
pack jpeg32 "$IMAGES" 36 44
pack jpeg224 $((IMAGES / 4)) 375 500
pack raw224 $((IMAGES / 4)) 375 500 --raw 256

# ms FILE: of "USER SYSTEM", a 1000 images
ms() { awk -v n="$2" '{ print ($1 + $2) * 1e6 / n }' "$1"; }

# once PROGRAM SET SIZE SHM: adds to SHM.feed, SHM.worker, SHM.rate
once() {
    images=$IMAGES
    [ "$3" = 32 ] || images=$((IMAGES / 4))
    set -- "$@" INPUT.SIZE "$3" INPUT.RESIZE $(($3 * 8 / 7))
    program=$1 set=$2 shm=$4
    shift 4
    case $program in
    train) how="--train" do="train -o run -t 1" ;;
    *) how="--eval" do="predict -w model.safetensors -t 1" ;;
    esac
    rm -rf run
    begun=$(date +%s.%N)
    # shellcheck disable=SC2086
    /usr/bin/time -o time.feed -f '%U %S' "$BIN/imgshard" feed "$set/train.json" -q \
        -c recipe.yaml $how -t 1 --shm "$shm" "$@" |
        /usr/bin/time -o time.worker -f '%U %S' "$BIN/accel-worker" $do -q -c recipe.yaml "$@" > out
    echo "$begun $(date +%s.%N)" | awk -v n="$images" '{ print n / ($2 - $1) }' >> "$shm.rate"
    ms time.feed "$images" >> "$shm.feed"
    ms time.worker "$images" >> "$shm.worker"
}

machine
printf '%-20s %8s %8s %8s %8s %8s %8s\n' '' feeder off worker off images/s off
for case in $CASES; do
    program=${case%%:*} size=${case##*:}
    form=${case#*:}
    form=${form%:*}
    rm -f auto.* off.*
    [ "$program" = train ] || "$BIN/accel-worker" init -q -c recipe.yaml -o model.safetensors \
        INPUT.SIZE "$size" INPUT.RESIZE $((size * 8 / 7)) > /dev/null
    round=0
    while [ "$round" -lt "$ROUNDS" ]; do
        round=$((round + 1))
        for shm in auto off; do
            once "$program" "$form$size" "$size" $shm
        done
    done
    printf '%-20s %8.0f %8.0f %8.0f %8.0f %8.0f %8.0f\n' "$program $form $size" \
        "$(median auto.feed)" "$(median off.feed)" "$(median auto.worker)" \
        "$(median off.worker)" "$(median auto.rate)" "$(median off.rate)"
done
