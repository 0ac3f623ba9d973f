#!/bin/sh
# Engines of cuDNN that were timed once on a card are those of every later run and
# of all ranks, and plan knows what they take. Without a GPU: t/hostgpu, whose clock
# goes as FAKECUDNN_US says. Which engine is taken when: t/unit/47-choice.c.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/devices.sh"

unset ACCEL_TUNE
MILLRACE_CACHE=$PWD/cache
FAKECUDNN_US='2=100 3=50'
export MILLRACE_CACHE FAKECUDNN_US
EPOCHS=0.5 BATCH=8 RECIPE='SOLVER.PRECISION: fp16'
make_data
sed -i 's/^INPUT.SIZE: .*/INPUT.SIZE: 16/' "$CONFIG"

HOSTGPU_PEAK=$PWD/peak run first
is $? 0 'a run that makes trials'
is "$(grep -c 'timing the forms' first.err)" 1 'says so once'
set -- cache/cuda-*
is $# 1 'a file is kept'
file=$1
cp "$file" known
is "$(grep -v '^#' known | grep -c -v 'engine 3 ')" 0 'of what is fastest'
like "$(cat first/metrics.jsonl)" '"event":"forms"' 'the log has a digest'
mv peak peak.trials

FAKECUDNN_US='2=50 3=100'
worker_run second --max-steps 1
is $? 75 'another one, stopped'
run second
is $? 0 'and resumed'
unlike "$(cat second.err)" 'timing|forms' 'makes no trials and has the same forms'
equal first second 'the same bits'
same "$file" known 'nothing was added'
worker_run third --max-steps 1 --no-tune
run third
like "$(cat third.err)" 'other forms than before' 'from the usual forms to others: told'

# ---- memory as planned, also while trials were made
# planned [OPTION]...: MiB of the device
planned() {
    "$WORKER" plan --json -c "$CONFIG" -e cuda --engine-dir "$host" -n 64 "$@" MODEL.CLASSES 4 2> plan.err
}
HOSTGPU_PEAK=$PWD/peak worker_run again --max-steps 1
planned > plan.json
is "$(cat plan.err)" '' 'a plan of what is known'
for p in peak peak.trials; do
    is "$(jq -n --slurpfile p plan.json --slurpfile got $p \
        '(($got[0] / 1048576 - $p[0].own) / ($p[0].memory - $p[0].own)) as $r | $r > 0.95 and $r < 1.03')" \
        true "$p: as planned" || tap_comment "$(cat $p plan.json)"
done
planned --no-tune > rule.json
is "$(jq -n --slurpfile a plan.json --slurpfile b rule.json '$a[0].scratch > $b[0].scratch')" true \
    'with the workspace of the engines that are taken'
planned SOLVER.BATCH 2 > /dev/null
like "$(cat plan.err)" 'were not timed here yet' 'a plan of what is not known says so'

# ---- a file that is not ours, or not whole
sed 1s/cuda/other/ known > "$file"
HOSTGPU_GPUS=1 "$WORKER" bench -n 1 --warm 0 -e cuda --engine-dir "$host" -c "$CONFIG" \
    MODEL.CLASSES 4 SOLVER.BATCH 2 > out 2> err
like "$(cat err)" 'not of this machine: begun anew' 'a file of another card is not read'
{ cat known; echo 'half a line'; } > "$file"
run damaged
like "$(cat damaged.err)" '1 line is passed over: damaged' 'nor is what is no line'
equal first damaged 'the rest is'

# ---- ranks
rm "$file"
FAKECUDNN_US='2=100 3=50' ranks 2 two "--reduce nccl --max-steps 1"
is $? 75 'two ranks at once'
is "$(cut -f 1 "$file" | sort | uniq -d)" '' 'time each convolution once'
ranks 2 twice "--reduce nccl --max-steps 1"
equal two twice 'and take the same later'

done_testing
