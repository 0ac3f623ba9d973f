#!/bin/sh
# A disk that is full at a moment; a feeder that stands still beside one worker; an
# export that is hurt.
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$TOP/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/fault.sh"

make_whole
RING=$PATIENT
for rank in 0 1; do
    hurt full:rank$rank:step8:phase=ckpt.write 0 'earlier ones are kept'
    hurt full=2:rank$rank:step16:phase=ckpt.write 74 'No space left'
done
hurt small=2:rank0:step16:phase=ckpt.begin 74 'no room: a checkpoint needs'
hurt small:rank0:phase=start 74 'no room: a checkpoint needs'
hurt full:rank0:step8:phase=file.rename 0 'state.json: .*earlier ones are kept'
hurt full:rank0:step8:phase=ckpt.rename 74 'metrics.jsonl'
OPTIONS='--timeout 2'
hurt stop:rank1:step5:phase=feed.batch 76 'stdin: .*deadline passed|no answer for 2 s'
OPTIONS=

# A pipe that stays open and says nothing more.
feed alone > alone.sft 2> /dev/null
mkfifo held
exec 8<> held
head -c $(($(wc -c < alone.sft) / 2)) alone.sft >&8 &
status=0
timeout -k 5 60 "$BIN/accel-worker" train -c "$CONFIG" -e "$ENGINE" -t 1 --timeout 2 \
    < held > alone.out 2> alone.err || status=$?
exec 8>&-
is $status 76 'one worker alone, whose batches stop in the middle'
like "$(tail -n 1 alone.err)" 'stdin: .*deadline passed' 'says so'

# export FAULT STATUS: over a file that is there
export_hurt() {
    status=0
    ACCEL_FAULT=$1 timeout -k 5 20 "$FAULTY/ckpt-merge" -o one/m.safetensors whole \
        > /dev/null 2> one.err || status=$?
    is "$status" "$2" "$1: status $2"
    same one/m.safetensors before.safetensors 'the file that was there is untouched'
}
mkdir one
"$BIN/ckpt-merge" -o one/m.safetensors whole/ckpt/step-000000012
is $? 0 'an export'
cp one/m.safetensors before.safetensors
for phase in merge file.half file.rename; do
    export_hurt kill:phase=$phase 137
done
export_hurt term:phase=file.half 143
export_hurt full:phase=merge 74
export_hurt stop:phase=file.half 124
"$BIN/ckpt-merge" -o one/m.safetensors whole
is $? 0 'and once more'
is "$(cd one && find . -type f)" ./m.safetensors 'nothing else is left'
done_testing
