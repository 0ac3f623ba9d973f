#!/bin/sh
# Batches in memory that imgshard and accel-worker share: the same bits as through
# the pipe, for whoever is at the other end of it; and what a stream may not say.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"

# 20 batches of 196 KB: the pipe does not hold them
SET='INPUT.SIZE 64 INPUT.RESIZE 72 INPUT.ERASE 0.5 INPUT.MIXUP 0.5'
EPOCHS=5
make_data
shared='[1-9][0-9]* batches in shared memory'

# by DIR [FEED OPTION]...: train in DIR
by() {
    by_dir=$1
    # shellcheck disable=SC2086
    feed "$@" -v $SET 2> "$by_dir.feed" |
        worker "$by_dir" $SET > "$by_dir.out" 2> "$by_dir.err"
}
by memory
is $? 0 'batches in memory'
like "$(cat memory.feed)" "$shared" 'which both have'
by pipe --shm off
is $? 0 '--shm off'
unlike "$(cat pipe.feed)" 'shared memory' 'is through the pipe'
equal memory pipe 'in memory and through the pipe'
MILLRACE_SLOTS=off
export MILLRACE_SLOTS
by off
unset MILLRACE_SLOTS
unlike "$(cat off.feed)" 'shared memory' 'MILLRACE_SLOTS=off, too'

# ---- somebody else reads
# shellcheck disable=SC2086
feed none $SET > stream
# shellcheck disable=SC2086
feed tee -v $SET 2> tee.feed | tee seen | worker tee $SET > tee.out 2> tee.err
is $? 0 'a tee between them'
unlike "$(cat tee.feed)" 'shared memory' 'has everything'
same stream seen 'as a file has'
equal memory tee 'and the worker behind it, too'
# shellcheck disable=SC2086
(feed end -v $SET; echo $? > status) 2> end.feed |
    worker end --max-steps 2 $SET > end.out 2> end.err
is "$? $(cat status)" '75 0' 'a worker that ends early is no failure of the feeder'
# shellcheck disable=SC2086
(ulimit -f 1000; feed limit -v $SET) 2> limit.feed | cat > limited
like "$(cat limit.feed)" 'files may have .*\(ulimit -f\): they go through the pipe' 'a limit on files is one on memory'
same stream limited 'and everything is there'

# ---- read | decode, predict
# shellcheck disable=SC2086
"$BIN/imgshard" read shards/train.json -c "$CONFIG" $SET |
    "$BIN/imgshard" decode --train -v -c "$CONFIG" $SET 2> decode.feed |
    worker decode $SET MODEL.CLASSES 4 > decode.out 2> decode.err
is $? 0 'read | decode' || tap_comment "$(cat decode.feed decode.err)"
like "$(cat decode.feed)" "$shared" 'shares memory'
equal memory decode 'by decode'
for shm in auto off; do
    # shellcheck disable=SC2086
    "$BIN/imgshard" feed shards/train.json --eval --shm $shm -c "$CONFIG" $SET |
        "$BIN/accel-worker" predict -w memory/ckpt/step-000000020 -c "$CONFIG" -e "$ENGINE" $SET \
            > pred.$shm 2> err
    is $? 0 "predict, --shm $shm" || tap_comment "$(cat err)"
done
same pred.auto pred.off 'predictions in memory and through the pipe'

# ---- predictions of ranks that do not divide the batch
"$BIN/evalacc" top pred.auto > whole.top
for rank in 0 1 2; do
    # shellcheck disable=SC2086
    "$BIN/imgshard" feed shards/train.json --eval --world 3 --rank $rank -c "$CONFIG" $SET |
        "$BIN/accel-worker" predict -w memory/ckpt/step-000000020 -c "$CONFIG" -e "$ENGINE" $SET \
            > part.$rank 2>> err
done
"$BIN/evalacc" top part.0 part.1 part.2 > parts.top 2>> err
is "$(cat parts.top)" "$(cat whole.top)" 'three ranks count as one does' || tap_comment "$(cat err)"

# ---- rows that are nowhere
# shellcheck disable=SC2086
"$BIN/imgshard" feed shards/train.json --eval -c "$CONFIG" $SET > looked
sed 's/"rows":"64"/"rows":"65"/' looked > lost
# shellcheck disable=SC2086
expect_status 65 'a row that did not come' from lost "$BIN/accel-worker" predict \
    -w memory/ckpt/step-000000020 -c "$CONFIG" -e "$ENGINE" $SET
like "$(cat err)" '^accel-worker: stdin: frame 7 at byte [0-9]+: end frame counts 65 rows, 64 were read$' 'is missed'

# ---- a batch that is nowhere
# frame META: a frame of these metadata
frame() {
    printf '{"__metadata__":{"sft":"1",%s}}' "$1" > header
    perl -e 'print pack "Q<", -s "header"'
    cat header
}
{
    frame '"seq":"0","t":"hello","global":"16","micro":"16","accum":"1","samples":"64","classes":"4","rank":"0","world":"1","start":"0"'
    frame '"seq":"1","t":"batch","n":"16","shm":"0","x.image":"U8:16,64,64,3:0","x.label":"I64:16:0"'
} > frames
# shellcheck disable=SC2002,SC2086
cat frames | worker nowhere $SET > out 2> err
is $? 65 'a batch in memory that is not shared'
like "$(tail -n 1 err)" 'stdin: batch: .*not shared with this program' 'is refused'
done_testing
