#!/bin/sh
# Programs beside training that are hurt: those that score, whose score is whole or
# none; an export that is slow; a launcher that stands still.
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$TOP/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/fault.sh"

make_whole
"$BIN/ckpt-merge" -o model.safetensors whole

# ---- feed | predict | evalacc

# score FAULT: its three statuses in $status, what it prints in ./score
score() {
    ACCEL_FAULT=$1
    export ACCEL_FAULT
    {
        { "$FAULTY/imgshard" feed shards/val.json -c "$CONFIG" --eval --threads 1 \
            SOLVER.MICRO 2 2> feed.err; echo $? > feed.status; } |
            { timeout -k 5 60 "$FAULTY/accel-worker" predict -c "$CONFIG" -e "$ENGINE" \
                -t 1 --timeout 2 -w model.safetensors 2> predict.err
            echo $? > predict.status; } |
            { env -u ACCEL_FAULT timeout -k 5 60 "$BIN/evalacc" top - > score 2> score.err
            echo $? > score.status; }
    } 2> /dev/null
    unset ACCEL_FAULT
    status="$(cat feed.status) $(cat predict.status) $(cat score.status)"
}

score ''
is "$status" '0 0 0' 'a score'
cp score whole.score
is "$(jq .n score)" 16 'of all images'
# hurts FAULT STATUSES: no score, but a sentence
hurts() {
    score "$1"
    like "$status" "^$2\$" "$1: statuses $status"
    is "$(cat score)" '' 'no score'
    unlike "$(cat score.err)" '^$' 'but a sentence'
}
# the feeder does not care that nobody reads any more
hurts kill:phase=predict '0 137 (74|76)'
hurts term:phase=predict '0 75 75'
hurts kill:step3:phase=feed.batch '137 76 76'
hurts term:step3:phase=feed.batch '143 75 75'
hurts kill:phase=feed.start '137 76 65'
for fault in slow=50:phase=predict slow=50:phase=feed.batch slow=200:phase=feed.start; do
    score $fault
    is "$status" '0 0 0' "$fault"
    same score whole.score 'the same score'
done

# a feeder that stands still: who waits for it says so
ACCEL_FAULT=stop:step3:phase=feed.batch
export ACCEL_FAULT
mkfifo images
"$FAULTY/imgshard" feed shards/val.json -c "$CONFIG" --eval --threads 1 SOLVER.MICRO 2 \
    > images 2> feed.err &
feeder=$!
unset ACCEL_FAULT
timeout -k 5 60 "$BIN/accel-worker" predict -c "$CONFIG" -e "$ENGINE" -t 1 --timeout 2 \
    -w model.safetensors < images > half.sft 2> predict.err
is $? 76 'the feeder of predict stands still: status 76'
like "$(cat predict.err)" 'stdin: .*deadline passed' 'says so'
kill -KILL $feeder
expect_status 76 'the predictions say that they are not whole' "$BIN/evalacc" top half.sft

# predictions into a disk that is full
"$BIN/imgshard" feed shards/val.json -c "$CONFIG" --eval 2> feed.err > val.sft
ACCEL_FAULT=full:phase=predict
export ACCEL_FAULT
"$FAULTY/accel-worker" predict -c "$CONFIG" -e "$ENGINE" -t 1 -w model.safetensors \
    < val.sft > full.sft 2> predict.err
is $? 74 'a full disk'
like "$(cat predict.err)" 'No space left' 'says so'
unset ACCEL_FAULT
"$BIN/evalacc" top full.sft > score 2> score.err
unlike $? '^0$' 'its predictions are none'

# ---- ckpt-merge that is slow, while training removes steps

for fault in slow=100:phase=merge slow=100:phase=file; do
    expect_status 0 "$fault" env ACCEL_FAULT=$fault "$FAULTY/ckpt-merge" -o slow.sft whole
    same slow.sft model.safetensors 'the same model'
done
cat > busy.sh << X
'$BIN/imgshard' feed shards/train.json -c '$CONFIG' --train --threads 1 SOLVER.EPOCHS 200 |
    '$BIN/accel-worker' train -q -c '$CONFIG' -e $ENGINE -t 1 --save-every 1it --keep 1 -o '$PWD/busy' SOLVER.EPOCHS 200
X
sh busy.sh 2> busy.err &
busy=$!
wrong=
exports=0
while kill -0 $busy 2> /dev/null && [ $exports -lt 40 ]; do
    [ -n "$(find busy/ckpt -name 'step-*' 2> /dev/null)" ] || continue
    "$BIN/ckpt-merge" -o busy.sft busy 2> merge.err || wrong="$wrong $? $(cat merge.err)"
    exports=$((exports + 1))
done
# shellcheck disable=SC2046
kill -TERM $(left "*accel-worker train*-o $PWD/busy*")
wait $busy
is "$wrong" '' "$exports exports of a run that keeps one checkpoint"

# ---- a launcher that stands still: its ranks go on, and it tells how they ended

# stands PHASE: in the background, until it stands still; $pid
stands() {
    rm -rf still
    ACCEL_FAULT=stop:phase=$1
    export ACCEL_FAULT
    "$FAULTY/accel-launch" -n 2 --grace 1 -- sh -c "$(rank_line still)" > still.out 2> still.err &
    pid=$!
    unset ACCEL_FAULT
    tries=600
    until grep -q '^State:.T' "/proc/$pid/status" || [ $tries = 0 ]; do
        tries=$((tries - 1))
        sleep 0.1
    done 2> /dev/null
}
# committed N: until there is the checkpoint of that step, 60 s at most
committed() {
    tries=600
    until [ -e "still/ckpt/step-00000000$1" ] || [ -e "still/ckpt/step-0000000$1" ] ||
        [ $tries = 0 ]; do
        tries=$((tries - 1))
        sleep 0.1
    done
}
stands launch.watch
committed 16
kill -CONT "$pid"
finish
is "$got" 0 'a launcher that stands still and goes on'
is "$(sound still)" '' 'nothing is left'
equal whole still 'its ranks were not disturbed'
stands launch.start
kill -CONT "$pid"
finish
is "$got" 0 'one that stands still between two ranks'
equal whole still 'the same'
stands launch.watch
kill -KILL "$pid"
finish
is "$got" 137 'one that stands still and is killed'
is "$(sound still)" '' 'its ranks end, what is committed verifies'
is "$(again still)" '' 'and the run goes on to the same end'
done_testing
