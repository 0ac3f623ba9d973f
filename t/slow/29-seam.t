#!/bin/sh
# A feeder and a worker that share memory, hurt at every moment of that; and where the
# two cannot share it. Nothing hangs, nothing is left, what is said is one sentence.
. "${TOP:=$(cd "$(dirname "$0")/../.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/train.sh"

FAULTY=$BIN/t/faulty
ACCEL_ENGINE_DIR=$BIN
export ACCEL_ENGINE_DIR
# 20 batches of 196 KB: no pipe holds half of them
SET='INPUT.SIZE 64 INPUT.RESIZE 72'
EPOCHS=5
PATIENCE=60 # of the worker, in seconds
make_data
# shellcheck disable=SC2086
run whole $SET
is $? 0 'a run that nobody hurts'

# feeder DIR [OPTION]..., trainer DIR: for a pipe; their statuses go to DIR.fed and
# DIR.status, 124 is that of one that would not end
feeder() {
    pair=$1
    shift
    status=0
    # shellcheck disable=SC2086
    timeout -k 1 60 "$FAULTY/imgshard" feed "$PWD/shards/train.json" -c "$CONFIG" --train \
        --from "$PWD/$pair/ckpt" "$@" $SET 2> "$pair.feed" || status=$?
    echo "$status" > "$pair.fed"
}
trainer() {
    status=0
    # shellcheck disable=SC2086
    timeout -k 1 60 "$FAULTY/accel-worker" train -c "$CONFIG" -o "$PWD/$1" -e "$ENGINE" \
        -t 1 --timeout $PATIENCE --log-every 1 $SET > /dev/null 2> "$1.err" || status=$?
    echo "$status" > "$1.status"
}
statuses() { echo "$(cat "$1.fed") $(cat "$1.status")"; }

# hurt FAULT STATUSES [WORD]: of feeder and trainer, which says so in its last line
hurt() {
    rm -rf hurt
    ACCEL_FAULT=$1
    export ACCEL_FAULT
    feeder hurt | trainer hurt
    unset ACCEL_FAULT
    like "$(statuses hurt)" "^$2\$" "$1: $(statuses hurt)" ||
        tap_comment "$(cat hurt.feed hurt.err)"
    like "$(tail -n 1 hurt.err)" "${3:-.}" 'says so'
    none_left "*$PWD/hurt*" 'nobody is left'
}

# timeout(1) kills itself as what it waited for was killed
for phase in lend.meet lend.given lend.offer lend.back feed.start feed.end step0:phase=feed.batch \
    step1:phase=feed.batch step2:phase=feed.batch step12:phase=lend.offer; do
    case $phase in step*) ;; *) phase=phase=$phase ;; esac
    case $phase in
    *feed.end) hurt "kill:$phase" '137 0' ;;
    *) hurt "kill:$phase" '137 76' 'stdin: .*the writer died' ;;
    esac
done
for phase in meet mapped taken back; do
    hurt kill:phase=borrow.$phase '0 137'
done
# shellcheck disable=SC2086
run hurt $SET
equal whole hurt 'and then to the same end'

# ---- one of the two stands still

# stopped DIR: $pid is who does, of those that work there
stopped() {
    tries=300
    while pid=$(left "$FAULTY/*$PWD/$1*" | while read -r p; do
        ! grep -q '^State:.T' "/proc/$p/status" || echo "$p"
    done) && [ -z "$pid" ] && [ $tries -gt 0 ]; do
        tries=$((tries - 1))
        sleep 0.1
    done 2> /dev/null
}

# stands FAULT: in the background; $pid is who does
stands() {
    rm -rf still still.fed still.status
    ACCEL_FAULT=$1
    export ACCEL_FAULT
    { feeder still | trainer still; } &
    both=$!
    unset ACCEL_FAULT
    stopped still
    is "$(echo "$pid" | wc -w)" 1 "$1: stands"
}

PATIENCE=4
for phase in lend.meet lend.given lend.back step12:phase=lend.offer; do
    case $phase in step*) ;; *) phase=phase=$phase ;; esac
    stands "stop:$phase"
    tries=300
    while [ ! -s still.status ] && [ $tries -gt 0 ]; do
        tries=$((tries - 1))
        sleep 0.1
    done
    is "$(cat still.status)" 76 'its worker gives up'
    like "$(tail -n 1 still.err)" 'stdin: .*deadline passed' 'says so'
    kill -s CONT "$pid"
    wait $both
    is "$(cat still.fed)" 0 'and it ends when it can'
done
PATIENCE=60
for phase in meet mapped taken back; do
    stands stop:phase=borrow.$phase
    kill -s CONT "$pid"
    wait $both
    is "$(statuses still)" '0 0' 'goes on' || tap_comment "$(cat still.feed still.err)"
    equal whole still "stopped at borrow.$phase"
done

# ---- two of one pipe

# one has read the hello when the other comes
feeder two | {
    (ACCEL_FAULT=stop:phase=borrow.meet && export ACCEL_FAULT && trainer two <&3) &
    stopped two
    trainer other <&3
    kill -s CONT "$pid"
    wait
} 3<&0
for who in two other; do
    unlike "$(cat $who.status)" '^(0|124)$' 'two workers of one pipe: none has a run'
    like "$(tail -n 1 $who.err)" 'accel-worker: (step [0-9]+: )?stdin: ' "what it says: $(tail -n 1 $who.err)"
done

# ---- where memory cannot be shared

# apart NAME COMMAND...: the worker is started by that command; -v of the feeder
apart() {
    what=$1
    shift
    rm -rf apart
    if ! "$@" true 2> /dev/null; then
        skip 3 "namespaces: $what"
        return
    fi
    # shellcheck disable=SC2086
    feeder apart -v | "$@" "$BIN/accel-worker" train -c "$CONFIG" -o "$PWD/apart" -e "$ENGINE" -t 1 \
        $SET > /dev/null 2> apart.err
    is $? 0 "$what" || tap_comment "$(cat apart.err)"
    unlike "$(cat apart.feed)" 'shared memory' 'through the pipe'
    equal whole apart "$what"
}
apart 'another network' unshare -rn
apart 'another user' unshare -U
cat > noproc << 'X'
umount -l /proc && exec "$@"
X
# there they find each other
if unshare -rm sh noproc true 2> /dev/null; then
    rm -rf apart
    # shellcheck disable=SC2016
    SET="$SET" unshare -rm sh noproc sh -c '
        "$1"/imgshard feed shards/train.json -c small.yaml --train -v $SET 2> apart.feed |
        "$1"/accel-worker train -c small.yaml -o apart -e '"$ENGINE"' -t 1 $SET 2> apart.err' sh "$BIN"
    is $? 0 'without /proc' || tap_comment "$(cat apart.feed apart.err)"
    equal whole apart 'without /proc'
else
    skip 2 'namespaces: without /proc'
fi

feeder copied -v | dd bs=5000 2> /dev/null | trainer copied
is "$(statuses copied)" '0 0' 'dd between them'
unlike "$(cat copied.feed)" 'shared memory' 'through the pipe'
equal whole copied 'dd between them'

(ulimit -f 1000; feeder small -v) | trainer small
is "$(statuses small)" '0 0' 'a limit on files' || tap_comment "$(cat small.feed small.err)"
like "$(cat small.feed)" 'files may have .*\(ulimit -f\): they go through the pipe' 'which is named'
equal whole small 'a limit on files'
done_testing
