# train.sh - small training runs, for tests that source tap.sh.
#
# make_data draws 64 + 16 images of 4 classes into ./shards and writes the recipe
# ./small.yaml. run DIR [KEY VALUE]... trains in DIR; worker_run DIR [OPTION]...
# does with options of the worker. Messages go to DIR.err.
#
# EPOCHS, set before make_data, is the length of a run (2), BATCH its batch (16);
# RECIPE more lines of the recipe.

CONFIG=$PWD/small.yaml
WORKER=$BIN/accel-worker
if [ -e "$BIN/engine-cpu.so" ]; then
    ENGINE=cpu
else
    ENGINE=ref
fi
OMP_NUM_THREADS=1
export OMP_NUM_THREADS

make_data() {
    cat > small.yaml << EOF
_BASE_: $TOP/configs/resnet18-demo.yaml
MODEL.WIDTH: 8
INPUT.SIZE: 32
INPUT.RESIZE: 36
SOLVER.EPOCHS: ${EPOCHS:-2}
SOLVER.BATCH: ${BATCH:-16}
SOLVER.WARMUP_EPOCHS: 0.5
${RECIPE:-}
EOF
    "$BIN/imgsynth" imagenet made-up --classes 4 --train 16 --val 4 \
        --size-min 40 --size-max 60 > data.log 2>&1 &&
        "$BIN/imgshard" pack --split train -o shards made-up/train >> data.log 2>&1 &&
        "$BIN/imgshard" pack --split val --classes shards/train.json -o shards \
            made-up/val >> data.log 2>&1
    ok $? "a data set to train on"
}

# feed DIR [OPTION|KEY VALUE]...: batches on stdout
feed() {
    feed_dir=$1
    shift
    "$BIN/imgshard" feed shards/train.json -c "$CONFIG" --train \
        --from "$feed_dir/ckpt" "$@"
}

# worker DIR [OPTION|KEY VALUE]...: trains on the batches of stdin. In a subshell
# with AS=exec that shell becomes the worker, so that it can be signalled.
worker() {
    worker_dir=$1
    shift
    ${AS:-} "$WORKER" train -c "$CONFIG" -o "$worker_dir" -e "$ENGINE" \
        -t 1 "$@"
}

run() {
    run_dir=$1
    shift
    feed "$run_dir" "$@" 2> "$run_dir.feed" |
        worker "$run_dir" "$@" > "$run_dir.out" 2> "$run_dir.err"
}

worker_run() {
    run_dir=$1
    shift
    feed "$run_dir" 2> "$run_dir.feed" |
        worker "$run_dir" "$@" > "$run_dir.out" 2> "$run_dir.err"
}

# checkpoints DIR: their names, in one line
checkpoints() {
    for checkpoint in "$1"/ckpt/*; do
        printf '%s ' "${checkpoint##*/}"
    done
}

# equal A B NAME, differ A B NAME: the newest checkpoints, bit for bit
equal() {
    "$BIN/ckpt-merge" diff -q "$1" "$2" > diff.out 2>&1
    ok $? "$3: the same bits" || tap_comment "$(head -n 5 diff.out)"
}
differ() {
    "$BIN/ckpt-merge" diff -q "$1" "$2" > /dev/null 2>&1
    is $? 1 "$3: other bits"
}

# ranks N DIR "WORKER OPTIONS" [KEY VALUE]...: so many ranks train in DIR, each with
# feeder and ring; what they print goes to DIR.out and DIR.err, their logs to
# DIR.log. The worker is WORKER, WORKER_FLAGS go before its options, FAULT is what
# ACCEL_FAULT says to it, LAUNCH_FLAGS go to accel-launch.
ranks() {
    ranks_n=$1
    ranks_dir=$2
    ranks_options="${WORKER_FLAGS:-} $3"
    shift 3
    # shellcheck disable=SC2086
    "$BIN/accel-launch" ${LAUNCH_FLAGS:-} -n "$ranks_n" --logdir "$ranks_dir.log" -- sh -c "
        '$BIN/imgshard' feed shards/train.json -c '$CONFIG' --train --threads 1 \
            --from $ranks_dir/ckpt $* |
        '$BIN/allreduce-ring' -- ${FAULT:+env ACCEL_FAULT=$FAULT} \
            '$WORKER' train -c '$CONFIG' -o $ranks_dir \
            -e $ENGINE -t 1 $ranks_options $*" > "$ranks_dir.out" 2> "$ranks_dir.err"
}

# weights A B NAME: parameters and momentum are equal bit for bit; running
# statistics follow each rank's own batches and may differ
weights() {
    "$BIN/ckpt-merge" diff "$1" "$2" > diff.out 2>&1
    grep -vE '(running_(mean|var)|num_batches_tracked)' diff.out > diff.weights
    is "$(cat diff.weights)" "" "$3"
}
