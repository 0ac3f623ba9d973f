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
hurt full:rank0:step8:phase=file.rename 0 'state.json: .*earlier ones are kept'
hurt full:rank0:step8:phase=ckpt.rename 74 'metrics.jsonl'
OPTIONS='--timeout 2'
hurt stop:rank1:step5:phase=feed.batch 76 'stdin: .*deadline passed'

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
