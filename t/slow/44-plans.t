#!/bin/sh
# cuDNN's plans for every convolution of the five networks on four cards, asked for
# by description (t/gpu/44-plans.c); others: bin/t/44-plans.t CAPABILITY BATCH.
. "${TOP:=$(cd "$(dirname "$0")/../.." && pwd)}/t/lib/tap.sh"

[ -x "$BIN/t/44-plans.t" ] || skip_all "cuda: no toolkit to build the engine with"
for card in 900 800 1000 1200; do
    "$BIN/t/44-plans.t" $card 256 > plans 2>&1
    is $? 0 "all plans of $card"
    is "$(grep '^not ok' plans)" '' 'none is missing'
done

done_testing
