#!/bin/sh
# What makes the batches of a rank is hurt in the middle of an accumulated step:
# killed it is a peer that was lost, and the run starts again; told to stop it ends
# the step first, and the steps that are done are committed.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/fault.sh"

# A rank has 4 batches a step: number 9 is the second one of step 3.
inside=step9:phase=feed.batch

# stands DIR: in the background, until the feeder of rank 1 stands still inside of
# step 3; then $pid is the launcher and $feeder the feeder
stands() {
    ACCEL_FAULT=stop:rank1:$inside
    export ACCEL_FAULT
    "$FAULTY/accel-launch" -n 2 -- sh -c "$(rank_line "$1")" > "$1.out" 2> "$1.err" &
    pid=$!
    unset ACCEL_FAULT
    tries=600
    until feeder=$(of_rank 1 "$FAULTY/imgshard feed*$PWD/$1/ckpt*") &&
        grep -q '^State:.T' "/proc/${feeder:-none}/status" &&
        [ "$(grep -c '"phase":"train"' "$1/metrics.jsonl")" -ge 2 ]; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || break
        sleep 0.1
    done 2> /dev/null
}

# to_all SIGNAL DIR: to every process of that run, as some schedulers send it
to_all() {
    # shellcheck disable=SC2046
    kill -s "$1" $(left "*$PWD/$2*")
    kill -s CONT "$feeder"
}

EPOCHS=2 make_data
echo 'SOLVER.ACCUM: 4' >> small.yaml
RING=$PATIENT
job whole
is $status 0 'a run that nobody hurts'
hurt kill:rank1:$inside 76 'stdin: .*the writer died'
LAUNCH='--retries 1'
hurt kill:rank1:$inside 0 'restart 1 of 1'
LAUNCH=

export ACCEL_FAULT=term:rank1:$inside
job told
unset ACCEL_FAULT
is "$status $(checkpoints told)" '75 step-000000003 ' 'the feeder alone was told to stop: its step is committed'
is "$(again told)" '' 'and then to the same end'

for signal in TERM USR1; do
    stands $signal
    to_all $signal $signal
    finish
    is "$got $(checkpoints $signal)" '75 step-000000003 ' "$signal to every process inside of step 3" ||
        tap_comment "$(head -n 20 $signal.err)"
    is "$(again $signal)" '' 'and then to the same end'
done

stands USR2
to_all USR2 USR2
finish
is "$got" 0 'USR2 to every process: the run goes on' || tap_comment "$(head -n 20 USR2.err)"
is "$(jq -r 'select(.event == "ckpt_commit") | .step' USR2/metrics.jsonl | tr '\n' ' ')" \
    '3 4 8 ' 'and saves in between'
is "$(again USR2)" '' 'it has the same end'

# ---- read | decode, in two processes

"$BIN/imgshard" read shards/train.json -c "$CONFIG" --epochs 1 > all.tar
for n in 30000 1024 0; do
    head -c $n all.tar > cut.tar
    # shellcheck disable=SC2002
    cat cut.tar | "$BIN/imgshard" decode --train -c "$CONFIG" > frames 2> err
    is $? 76 "the reader is lost after $n bytes: status 76" || tap_comment "$(cat err)"
    expect_status 65 'a file that ends there' "$BIN/imgshard" decode --train -c "$CONFIG" < cut.tar
done
done_testing
