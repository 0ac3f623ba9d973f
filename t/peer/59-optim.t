#!/bin/sh
# Updates and losses beside PyTorch: the recorded numbers are those of the PyTorch
# that is here, and other numbers than the recorded ones agree as well. Needs Python
# with torch (PEER_PYTHON).
. "${TOP:=$(cd "$(dirname "$0")/../.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/peer.sh"
peer_needs torch

# far A B: the largest relative distance of two files' numbers
far() {
    paste -d ' ' "$1" "$2" | awk '{
        n = NF / 2
        for (i = 1; i <= n; i++) {
            if ($i == $(i + n)) continue
            d = $i - $(i + n)
            m = ($i < 0) ? -$i : $i
            d = ((d < 0) ? -d : d) / (m + 1e-6)
            if (d > worst) worst = d
        }
    } END { printf "%.1e %d\n", worst + 0, (worst + 0 < 1e-8 && NR > 300) }'
}

"$PY" -W ignore "$TOP/t/golden/make-optim.py" > now.txt 2> err
is $? 0 'the numbers of today' || tap_comment "$(tail -n 3 err)"
far now.txt "$TOP/t/golden/optim.txt" > far.txt
is "$(cut -d ' ' -f 2 far.txt)" 1 "are the recorded ones ($(cut -d ' ' -f 1 far.txt))"
for seed in 2 3; do
    "$PY" -W ignore "$TOP/t/golden/make-optim.py" $seed > other.txt 2> err
    is $? 0 "the numbers of seed $seed"
    GOLDEN=$PWD/other.txt "$BIN/t/53-optim.t" > out 2>&1
    is $? 0 'are ours' || tap_comment "$(grep -A 2 '^not' out)"
    tap_comment "$(grep ' within ' out | sed 's/.* - //' | tr '\n' ';')"
done
done_testing
