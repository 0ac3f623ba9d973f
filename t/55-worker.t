#!/bin/sh
# accel-worker train: a run is the same bits however it is cut, interrupted and
# fed; what cannot be done is said in one line.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/train.sh"

make_data
run straight
is $? 0 "a run of 8 steps"
like "$(cat straight.err)" '^accel-worker: batch 16 = 16 micro x 1 rank x 1 accum; lr 0.05 \(not scaled\); 4 steps/epoch, 8 total; 64 samples$' "the ledger"
like "$(cat straight.err)" 'fresh start, seed 0$' "says that it starts anew"
is "$(checkpoints straight)" "step-000000008 " "one checkpoint at the end"

# ---- the same bits
run again
equal straight again "the same seed twice"
feed threads --threads 8 2> threads.feed | worker threads 2> threads.err
equal straight threads "8 decoding threads"
run other SEED 1
differ straight other "another seed"

worker_run cut --max-steps 3
is $? 75 "stopped in order after 3 steps"
worker_run cut --max-steps 3
is $? 75 "and after 3 more"
like "$(cat cut.err)" 'resuming from step 3 of 8$' "says that it resumes"
run cut
is $? 0 "complete"
equal straight cut "interrupted at steps 3 and 6"
run cut
is $? 0 "started once more: nothing to do"
like "$(cat cut.err)" 'already complete: 8 steps$' "and says so"
is "$(jq -s 'map(select(.phase == "train")) | map(.attempt) | unique | length' cut/metrics.jsonl)" 3 "three attempts in the log"


# one byte of the newest checkpoint is another one
worker_run rot --max-steps 1
file=$(echo rot/ckpt/step-*1/rank-*)
printf 'x' | dd of="$file" bs=1 seek=$(($(wc -c < "$file") - 7)) conv=notrunc 2> dd.err
run rot
is $? 65 "a changed byte in the checkpoint"
like "$(cat rot.err)" "^accel-worker: $file: CRC-32: expected" "says so"
feed none > rot.sft 2> rot.feed
"$BIN/accel-worker" predict -q -c "$CONFIG" -w "${file%/*}" < rot.sft > out 2> err
is $? 65 "no predictions with it"
like "$(cat err)" "^accel-worker: $file: CRC-32: expected" "for the same reason"

worker_run saves --save-every 2it --keep 0
is "$(checkpoints saves)" "step-000000002 step-000000004 step-000000006 step-000000008 " "a checkpoint every 2 steps"
equal straight saves "saving changes nothing"
worker_run epochs --save-every 1ep --keep 1
is "$(checkpoints epochs)" "step-000000008 " "every epoch, the newest kept"

# ---- where the time goes
worker_run seen --profile 2:3
equal straight seen "watching changes nothing"
events() { jq -r "map(select(.ph == \"X\" and .tid == $1)) | map(.name) | $2" seen/profile-0.json; }
is "$(events 0 'join(" ")')" "wait data compute exchange update agree checkpoint wait data compute exchange update agree checkpoint" "the phases of two steps"
like "$(events 1 'unique | join(" ")')" "conv.*sgd" "calls of the engine"
is "$(jq '[.[] | select(.ph == "X") | .ts + .dur] as $ends | map(select(.ph == "X" and .tid == 0)) | (map(.ts + .dur) | max) >= ($ends | max) and all(.dur >= 0)' seen/profile-0.json)" true "inside of the phases"
expect_status 64 "--profile 3:2" "$BIN/accel-worker" train --profile 3:2 -o seen < /dev/null
like "$(cat err)" 'accel-worker: --profile: "3:2": not steps' "says why"
expect_status 64 "--profile without --out" "$BIN/accel-worker" train --profile 3 < /dev/null

# ---- another cut of the same batch
run accum SOLVER.ACCUM 4
like "$(cat accum.err)" 'batch 16 = 4 micro x 1 rank x 4 accum' "accumulation"
run accum2 SOLVER.MICRO 4
equal accum accum2 "accumulation given and derived"
run short SOLVER.TAIL exact SOLVER.BATCH 24 SOLVER.ACCUM 3
is $? 0 "a short last group"
is "$(jq -s 'map(select(.phase == "train")) | last | .samples' short/metrics.jsonl)" 128 "counts its true images"
run lone SOLVER.TAIL exact SOLVER.BATCH 21
is $? 78 "a last step of one image, where that is one value per channel"
like "$(cat lone.err)" 'SOLVER.TAIL exact: the last 1 images of an epoch: layer4.0.bn1: one value per channel' "says why"
is "$(jq -s length lone/metrics.jsonl 2> /dev/null || echo 0)" 0 "before the first step"

# ---- signals
# shellcheck disable=SC2317
holds() { # FILE BYTES: so many, at least
    [ "$(wc -c < "$1")" -ge "$2" ]
}
signal_run() { # DIR SIGNAL: the signal once a step is done
    rm -rf "$1"
    feed "$1" SOLVER.EPOCHS 200 > "$1.sft" 2> /dev/null &
    feeder=$!
    await holds "$1.sft" 5000000
    kill $feeder 2> /dev/null
    wait $feeder 2> /dev/null
    mkfifo "$1.fifo"
    (cat "$1.sft" && exec sleep 600) > "$1.fifo" 2> /dev/null &
    catter=$!
    (AS="exec" && worker "$1" --log-every 1 SOLVER.EPOCHS 200) < "$1.fifo" 2> "$1.err" &
    pid=$!
    await test -s "$1/metrics.jsonl"
    kill -s "$2" $pid
    wait $pid
    status=$?
    kill $catter 2> /dev/null
    wait $catter 2> /dev/null
    return $status
}
signal_run term TERM
is $? 75 "TERM: status 75"
"$BIN/ckpt-merge" verify term > /dev/null
is $? 0 "TERM: a checkpoint was committed"
signal_run int INT
is $? 130 "INT: status 130"
"$BIN/ckpt-merge" verify int > /dev/null
is $? 0 "INT: a checkpoint was committed"

# ---- what cannot be
bad() { # STATUS PATTERN NAME: of the last run
    is "$status" "$1" "$3: status $1"
    one_line err "$3: one line"
    like "$(cat err)" "$2" "$3: says why"
}
fail() { # ARGS...: a worker that must fail before its first step
    feed none > in.sft 2> /dev/null
    "$BIN/accel-worker" train "$@" < in.sft > out 2> err
    status=$?
}
fail -c nowhere.yaml
bad 66 'nowhere.yaml: ' "no recipe"
fail -c "$CONFIG" SOLVER.BASE_LRR 1
bad 64 'SOLVER.BASE_LRR.*SOLVER.BASE_LR' "unknown key"
fail -c "$CONFIG" -e cuda
bad 69 'cuda' "engine that is not here"
fail -c "$CONFIG" -e ref MODEL.NAME resnet19
bad 78 'resnet19.*resnet18' "unknown model"
fail -c "$CONFIG" -e ref MODEL.CLASSES 7
bad 78 '7.*4 classes' "another number of classes"
fail -c "$CONFIG" -e ref SOLVER.ACCUM 3
bad 64 '16.*(15|18)' "impossible batch"
"$BIN/accel-worker" train -c "$CONFIG" < /dev/null > out 2> err
status=$?
bad 74 'stdin' "empty input"
feed none > in.sft 2> /dev/null
size=$(wc -c < in.sft)
head -c $((size / 2)) in.sft > half.sft
"$BIN/accel-worker" train -q -c "$CONFIG" -e "$ENGINE" < half.sft > out 2> err
status=$?
bad 74 'stdin|step' "truncated stream"
"$BIN/accel-worker" train -q -c "$CONFIG" -e "$ENGINE" -o straight SOLVER.BASE_LR 0.07 < in.sft > out 2> err
status=$?
bad 78 'another recipe: made with SOLVER.BASE_LR 0.05, here it is 0.07' "another recipe in the same directory"
"$BIN/accel-worker" train -q -c "$CONFIG" -e "$ENGINE" -o cut2 SOLVER.BASE_LR 1e6 < in.sft > out 2> err
status=$?
bad 70 'step [0-9]+: diverged' "a run that diverges"
"$BIN/accel-worker" train -q -c "$CONFIG" -e cpu SOLVER.PRECISION fp16 < in.sft > out 2> err
status=$?
bad 69 'F16|fp16' "fp16 on an engine without it"
"$BIN/accel-worker" train -q -c "$CONFIG" -o /proc/none < in.sft > out 2> err
status=$?
bad 73 '/proc/none' "a run directory that cannot be"
if command -v flock > /dev/null; then
    checkpoints straight > before
    flock straight "$BIN/accel-worker" train -q -c "$CONFIG" -e "$ENGINE" -o straight < in.sft > out 2> err
    status=$?
    bad 73 '^accel-worker: straight: another run is going on in it$' "a directory that another run has"
    is "$(checkpoints straight)" "$(cat before)" "it is left alone"
else
    skip 4 "flock: not here"
fi
RANK=1 WORLD_SIZE=2 "$BIN/accel-worker" train -q -c "$CONFIG" < in.sft > out 2> err
status=$?
is $status 78 "a rank of two without a ring: status 78"

# ---- a disk that fills: the checkpoint that is there stays
mkdir small
if mount -t tmpfs -o size=3m tmpfs small 2> /dev/null; then
    worker_run small --save-every 2it --keep 0
    status=$?
    is $status 74 "full disk at the end: status 74"
    like "$(cat small.err)" 'checkpoint of step [0-9]+: .*needs [0-9.]+ MB, [0-9.]+ MB are free; the earlier ones are kept' "full disk before: goes on"
    like "$(tail -n 1 small.err)" 'checkpoint of step [0-9]+: .*needs [0-9.]+ MB' "full disk: says so"
    "$BIN/ckpt-merge" verify -q small > /dev/null
    is $? 0 "full disk: what was committed verifies"
    rm -rf small/ckpt small/metrics.jsonl
    mkdir -p small/ckpt/.step-000000004.tmp
    head -c 2600000 /dev/zero > small/ckpt/.step-000000004.tmp/half
    worker_run small
    is $? 0 "a disk filled by a checkpoint of a killed run: it is removed"
    rm -rf small/ckpt small/metrics.jsonl
    head -c 2600000 /dev/zero > small/else
    worker_run small
    is $? 74 "a disk filled by something else: refused"
    like "$(tail -n 1 small.err)" 'small/ckpt: no room: a checkpoint needs [0-9.]+ MB, 0\.[0-9] MB are free$' "says what is needed"
    is "$(cat small/metrics.jsonl)" "" "before the first step"
    umount small
else
    skip 8 "mount: not allowed here"
fi

done_testing
