# fault.sh - runs that are hurt on purpose (t/lib/fault.c). Source it after tap.sh,
# procs.sh and train.sh.
#
#	make_whole                     data, and ./whole, the run that nobody hurts
#	hurt FAULT [PATTERN [WORD]]    a run with that ACCEL_FAULT: nothing hangs, nothing is
#	                               left, what is committed verifies; started again it
#	                               ends with the weights of ./whole
#
# PATTERN is of the status of the run that is hurt, by default that of one that
# fails; its messages have WORD.
# shellcheck disable=SC2034,SC2154

FAULTY=$BIN/t/faulty
ACCEL_ENGINE_DIR=$BIN
export ACCEL_ENGINE_DIR
unset ACCEL_FAULT
RANKS=2
RING=    # options of allreduce-ring
OPTIONS= # of accel-worker
LAUNCH=  # of accel-launch
PATIENT='--timeout 60'
HASTY='--timeout 2'

# rank_line DIR: what a rank runs
rank_line() {
    echo "'$FAULTY/imgshard' feed '$PWD/shards/train.json' -c '$CONFIG' --train \
            --threads 1 --from '$PWD/$1/ckpt' |
        '$FAULTY/allreduce-ring' $RING -- '$FAULTY/accel-worker' train -c '$CONFIG' \
            -o '$PWD/$1' -e $ENGINE -t 1 --save-every 4it --log-every 1 $OPTIONS"
}

# job DIR: a run to its end, however that is, in $status; 124: it would not end
job() {
    status=0
    # shellcheck disable=SC2086
    timeout -k 5 90 "$FAULTY/accel-launch" -n $RANKS --grace 1 $LAUNCH -- \
        sh -c "$(rank_line "$1")" > "$1.out" 2> "$1.err" || status=$?
}

make_whole() {
    EPOCHS=${EPOCHS:-4} make_data
    job whole
    is $status 0 'a run that nobody hurts'
}

# still DIR: processes with it in their command lines after 5 s
still() {
    still_tries=25
    while still_pids=$(pgrep -f "$PWD/$1" | tr '\n' ' ') && [ -n "$still_pids" ] &&
        [ $still_tries -gt 0 ]; do
        still_tries=$((still_tries - 1))
        sleep 0.2
    done
    printf '%s' "$still_pids"
}

# sound DIR: what is wrong about what a run has left, in words
sound() {
    sound_pids=$(still "$1")
    [ -z "$sound_pids" ] || printf '%s' "left: $sound_pids;"
    if [ -n "$(find "$1/ckpt" -name 'step-*' 2> /dev/null)" ] &&
        ! "$BIN/ckpt-merge" verify -q "$1" > verify.out 2>&1; then
        printf '%s' "verify: $(head -n 1 verify.out);"
    fi
}

# again DIR: start it again; what is wrong about its end, in words
again() {
    job "$1"
    [ $status -eq 0 ] || printf '%s' "started again: status $status: $(tail -n 1 "$1.err");"
    sound "$1"
    again_hidden=$(find "$1" -name '.*' -o -name '*.tmp')
    [ -z "$again_hidden" ] || printf '%s' "leftovers: $again_hidden;"
    "$BIN/ckpt-merge" diff -q whole "$1" > diff.out 2>&1 ||
        printf '%s' "other bits: $(head -n 1 diff.out);"
}

hurt() {
    rm -rf hurt
    ACCEL_FAULT=$1
    export ACCEL_FAULT
    job hurt
    unset ACCEL_FAULT
    cp hurt.err hurt.first
    wrong=
    printf '%s\n' "$status" | grep -Eqx -e "${2:-[1-9].*}" || wrong="status $status;"
    [ "$status" != 124 ] || wrong='hangs;'
    grep -Eq -e "${3:-}" hurt.err || wrong="$wrong says nothing of \"$3\";"
    wrong="$wrong$(sound hurt)"
    wrong="$wrong$(RING=$PATIENT again hurt)"
    is "$wrong" '' "$1" || tap_comment "$(head -n 20 hurt.first)"
}
