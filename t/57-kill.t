#!/bin/sh
# kill -9 at 20 random moments and resume: the same final bits as the run that
# nobody disturbed, and no checkpoint that does not verify.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"
[ -z "${SANITIZED:-}" ] || skip_all 'sanitized: the moments are those of a fast build'

EPOCHS=400
make_data
worker_run straight --save-every 25it --log-every 100
is $? 0 "1600 steps undisturbed"

# hundredths of a second of life, from a generator with a fixed seed
lives=$(awk 'BEGIN { x = 12345; for (i = 0; i < 20; i++) {
    x = (x * 1103515245 + 12345) % 2147483648
    printf "%02d ", 4 + int(x / 65536) % 30 } }')
broken=
kills=0
for life in $lives; do
    feed cut 2> /dev/null |
        (AS="exec" && worker cut --save-every 25it --log-every 100) > /dev/null 2>&1 &
    pid=$!
    sleep "0.$life"
    # a busy machine gets nowhere in such lives: one is longer
    tries=300
    while [ "$kills" = 9 ] && [ "$(checkpoints cut)" = '* ' ] &&
        [ $tries -gt 0 ]; do
        tries=$((tries - 1))
        sleep 0.1
    done
    kill -9 $pid 2> /dev/null && kills=$((kills + 1))
    wait $pid 2> /dev/null
    if [ "$(checkpoints cut)" != '* ' ] &&
        ! "$BIN/ckpt-merge" verify -q cut > verify.out 2>&1; then
        broken="$broken $life"
    fi
done 2> /dev/null
is "$kills" 20 "killed 20 times"
is "$broken" "" "every checkpoint that was left verifies"
like "$(checkpoints cut)" 'step-[0-9]+' "some of it was done"
worker_run cut --save-every 25it --log-every 100
is $? 0 "and then to the end"
equal straight cut "killed and resumed"
is "$(find cut/ckpt -name '.*' | wc -l)" 0 "no leftovers"

done_testing
