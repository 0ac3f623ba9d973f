#!/bin/sh
# Images go to a device out of the memory that their feeder made them in. There is no
# GPU (t/hostgpu): copies are as late as a card's may be, and the feeder has time to
# write to what it is given back.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/devices.sh"

# 16 steps: each slot of the memory serves twice
EPOCHS=1
BATCH=4
make_data
HOSTGPU_SENT=sent
export HOSTGPU_SENT

# by DIR SHM [OPTION]...: train in DIR; bytes that were sent are in DIR.sent. A feeder
# that is through before its reader comes lends nothing: then once more.
by() {
    by_dir=$1
    by_shm=$2
    shift 2
    for _ in 1 2 3 4 5; do
        rm -rf "$by_dir"
        feed "$by_dir" --shm "$by_shm" -v "$@" 2> "$by_dir.feed" |
            worker "$by_dir" "$@" > "$by_dir.out" 2> "$by_dir.err"
        by_status=$?
        mv sent "$by_dir.sent"
        if [ "$by_shm" = off ] || grep -q 'in shared memory' "$by_dir.feed"; then
            break
        fi
    done
    is "$by_status" 0 "$by_dir" || tap_comment "$(cat "$by_dir.feed" "$by_dir.err")"
}
# sent_from DIR WHERE: bytes that came from there
sent_from() { sed -n "s/^$2 //p" "$1.sent"; }

by copied off
is "$(sent_from copied registered) $(sent_from copied pageable)" '0 0' 'through the pipe: from copies'
by shared auto -v
is "$(sent_from shared pageable)" 0 'not one from memory that the device does not know'
unlike "$(cat shared.err)" 'are copied' 'nothing is amiss'
equal copied shared 'from both'

# A worker that stands between giving a batch back and the end of the step.
cat > slow << EOF
#!/bin/sh
ACCEL_FAULT=slow=40:phase=reduce exec '$BIN/t/faulty/accel-worker' "\$@"
EOF
chmod +x slow
HOSTGPU_LATE=all
export HOSTGPU_LATE
WORKER=./slow
by late auto
WORKER=$BIN/accel-worker
unlike "$(sent_from late registered)" '^0$' 'a slow worker, late copies: from where they lie'
equal copied late 'late copies'
unset HOSTGPU_LATE

# 801: not supported
HOSTGPU_FAIL=cudaHostRegister:1:801
export HOSTGPU_FAIL
by refused auto -v
unset HOSTGPU_FAIL
is "$(grep -c 'memory of the batches: cuda: .*are copied' refused.err)" 1 'memory that is refused: is said once'
is "$(sent_from refused registered)" 0 'and left alone'
equal copied refused 'from copies'

for shm in auto off; do
    "$BIN/imgshard" feed shards/train.json --eval --shm $shm -c "$CONFIG" |
        "$WORKER" predict -w copied/ckpt/step-000000016 -c "$CONFIG" -e cuda --engine-dir "$host" \
            > pred.$shm 2> err
    is $? 0 "predict, --shm $shm" || tap_comment "$(cat err)"
    mv sent $shm.sent
done
is "$(sent_from off registered) $(sent_from auto pageable)" '0 0' 'predictions, too'
same pred.auto pred.off 'are the same'
done_testing
