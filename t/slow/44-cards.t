#!/bin/sh
# cuDNN's plans on five cards at three batches, some of all convolutions each; all of
# them at batch 256 on four: 44-plans.t beside this.
. "${TOP:=$(cd "$(dirname "$0")/../.." && pwd)}/t/lib/tap.sh"

[ -x "$BIN/t/44-plans.t" ] || skip_all "cuda: no toolkit to build the engine with"
for card in '900 128' '900 64' '800 128' '800 64' '1000 256' '1000 128' '1000 64' \
    '1200 256' '1200 128' '1200 64' '750 128'; do
    # shellcheck disable=SC2086
    "$BIN/t/44-plans.t" $card 11 > plans 2>&1
    is $? 0 "plans of $card"
    is "$(grep '^not ok' plans)" '' 'none is missing'
done

done_testing
