#!/bin/sh
# Several ranks on this host: the same bits as one rank that accumulates, equal
# state on all, and one that dies ends all with its name.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/train.sh"

make_data
ranks 2 two ""
is $? 0 "two ranks"
like "$(cat two.err)" 'batch 16 = 8 micro x 2 ranks x 1 accum' "the ledger names them"
is "$(cd two/ckpt/step-000000008 && echo *)" \
    "rank-00000-of-00002.safetensors rank-00001-of-00002.safetensors state.json" "each writes its share"
"$BIN/ckpt-merge" verify two > /dev/null
is $? 0 "the checkpoint verifies"
run accum SOLVER.ACCUM 2
weights two accum "2 ranks x 1 = 1 rank x 2, bit for bit"
ranks 2 again ""
equal two again "two ranks twice"
MILLRACE_SLOTS=off ranks 2 pipes ""
equal two pipes "gradients through pipes"
ranks 4 four ""
is $? 0 "four ranks"
# sums of three and more are rounded in another order: close after one step
ranks 4 one4 "--max-steps 1"
ranks 2 one2 "--max-steps 1" SOLVER.ACCUM 2
"$BIN/ckpt-merge" diff one4 one2 |
    grep -vE '(running_(mean|var)|num_batches_tracked)' |
    awk '{ if (!($4 + 0 < 1e-5)) print }' > far
is "$(head -n 3 far)" "" "4 ranks x 1 = 2 ranks x 2 within 1e-5 after a step"
ranks 2 cut "--max-steps 3"
is $? 75 "two ranks stopped in order"
ranks 2 cut ""
is $? 0 "and resumed"
equal two cut "interrupted at step 3"
ranks 1 moved "--max-steps 4" SOLVER.ACCUM 2
ranks 2 moved ""
is $? 0 "from one rank to two"
weights two moved "the same weights by way of another world"
ranks 2 short "" SOLVER.TAIL exact SOLVER.BATCH 24
is $? 0 "an epoch that ends in a short step"

ranks 3 three ""
is $? 64 "16 images on 3 ranks: refused"
like "$(cat three.err)" '16.*3 ranks.*(15|18)' "and the nearest are named"

# ---- kill -9 of any process of a four-rank run
gone() { ! kill -0 "$1"; }
# kill_one DIR PROGRAM: that of rank 2
kill_one() {
    rm -rf "$1"
    ranks 4 "$1" "--log-every 1" SOLVER.EPOCHS 500 &
    launch=$!
    await test -s "$1/metrics.jsonl"
    victim=$(of_rank 2 "$2 *$CONFIG*" | tail -n 1)
    set -- "$1" "${2##*/}"
    [ -n "$victim" ]
    ok $? "$2: found in rank 2"
    kill -9 "$victim" 2> /dev/null
    await gone $launch
    gone $launch
    ok $? "$2: everything ended soon"
    kill -9 $launch 2> /dev/null
    status=0
    wait $launch || status=$?
    unlike "$status" '^0$' "$2: the status is not 0"
    like "$(cat "$1.err")" 'rank 2' "$2: the message names rank 2"
    is "$(left "*$CONFIG*")" '' "$2: no process is left"
}
kill_one dead-worker "$BIN/accel-worker"
kill_one dead-ring "$BIN/allreduce-ring"
kill_one dead-feed "$BIN/imgshard"
kill_one dead-shell sh

done_testing
