# train.sh - small training runs, for tests that source tap.sh.
#
# make_data draws 64 + 16 images of 4 classes into ./shards. run DIR [KEY VALUE
# ...] trains in DIR; FEED=, TRAIN= give more options. Messages go to DIR.err.

CONFIG=$TOP/configs/resnet18-demo.yaml
SETTINGS="MODEL.WIDTH 8 INPUT.SIZE 32 INPUT.RESIZE 36 SOLVER.EPOCHS 2 SOLVER.BATCH 16 SOLVER.WARMUP_EPOCHS 0.5"
if [ -e "$BIN/engine-cpu.so" ]; then
    ENGINE=cpu
else
    ENGINE=ref
fi
OMP_NUM_THREADS=1
export OMP_NUM_THREADS

make_data() {
    "$BIN/imgsynth" imagenet made-up --classes 4 --train 16 --val 4 \
        --size-min 40 --size-max 60 > data.log 2>&1 &&
        "$BIN/imgshard" pack --split train -o shards made-up/train >> data.log 2>&1 &&
        "$BIN/imgshard" pack --split val --classes shards/train.json -o shards \
            made-up/val >> data.log 2>&1
    ok $? "a data set to train on"
}

# feed DIR [KEY VALUE...]: batches on stdout
feed() {
    feed_dir=$1
    shift
    # shellcheck disable=SC2086
    "$BIN/imgshard" feed shards/train.json -c "$CONFIG" --train \
        --from "$feed_dir/ckpt" ${FEED:-} $SETTINGS "$@"
}

# worker DIR [KEY VALUE...]: trains on the batches of stdin. WORKER=exec in a
# subshell makes that shell the worker, so that it can be signalled.
worker() {
    worker_dir=$1
    shift
    # shellcheck disable=SC2086
    ${WORKER:-} "$BIN/accel-worker" train -c "$CONFIG" -o "$worker_dir" -e "$ENGINE" -t 1 \
        ${TRAIN:-} $SETTINGS "$@"
}

# run DIR [FEED=OPTIONS] [TRAIN=OPTIONS] ["KEY VALUE..."]
run() {
    run_dir=$1
    shift
    FEED=
    TRAIN=
    run_more=
    for word in "$@"; do
        case $word in
        FEED=*) FEED=${word#FEED=} ;;
        TRAIN=*) TRAIN=${word#TRAIN=} ;;
        *) run_more="$run_more $word" ;;
        esac
    done
    # shellcheck disable=SC2086
    feed "$run_dir" $run_more 2> "$run_dir.feed" |
        worker "$run_dir" $run_more > "$run_dir.out" 2> "$run_dir.err"
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
