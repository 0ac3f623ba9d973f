# moments.sh - one run that is hurt at many random moments of the clock, one after
# the other, then ends with the weights of the run that nobody hurt. Source it alone;
# the number in the name of the script, moments-7.t, is the seed. MOMENTS, RANKS,
# OPTIONS, BATCH and RECIPE may be set then, before moments is called.
# shellcheck disable=SC2154,SC2034
. "$TOP/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/fault.sh"

MOMENTS=50
SEED=${0##*-}
SEED=${SEED%.t}

# dice N: $roll is 0 to N-1; the same ones for the same SEED
dice() {
    SEED=$(((SEED * 1103515245 + 12345) % 2147483648))
    roll=$((SEED / 65536 % $1))
}

# victim KIND: $pid is a process of that kind of one of the ranks, if there is one
victim() {
    case $1 in
    launch) pattern="$FAULTY/accel-launch" ;;
    shell) pattern='sh -c' ;;
    ring) pattern="$FAULTY/allreduce-ring" ;;
    feed) pattern="$FAULTY/imgshard" ;;
    worker) pattern="$FAULTY/accel-worker" ;;
    esac
    pid=$(pgrep -f "^$pattern [^%]*$PWD/cut" | sed -n "$((roll % RANKS + 1))p")
}

moments() {
    EPOCHS=${EPOCHS:-60}
    make_whole
    RING=$HASTY
    broken=
    hurts=0
    tries=0
    while [ $hurts -lt "$MOMENTS" ] && [ $tries -lt $((MOMENTS * 3)) ]; do
        tries=$((tries + 1))
        { job cut; echo "$status" > cut.status; } &
        running=$!
        dice 90
        sleep "$(printf '0.%02d' $((roll + 3)))"
        dice 8
        case $roll in
        0) signal=TERM ;;
        1) signal=STOP ;;
        *) signal=KILL ;;
        esac
        dice 10
        case $roll in
        0) kind=launch signal=KILL ;;
        1) kind=shell ;;
        2 | 3) kind=feed ;;
        4 | 5) kind=ring ;;
        *) kind=worker ;;
        esac
        victim $kind
        # The shell of a background job has the name of this script.
        [ -n "$pid" ] && kill -s $signal "$pid" 2> /dev/null && hurts=$((hurts + 1))
        wait $running
        [ "$(cat cut.status)" != 124 ] || broken="$broken hangs after $signal of a $kind;"
        found=$(sound cut)
        [ -z "$found" ] || broken="$broken after $signal of a $kind: $found"
        [ "$(cat cut.status)" != 0 ] || rm -rf cut
    done 2> /dev/null
    is "$hurts" "$MOMENTS" "hurt $MOMENTS times at a random moment"
    is "$broken" '' 'nothing hung, nothing was left, everything verified'
    RING=$PATIENT
    is "$(again cut)" '' 'and then to the same end'
}
