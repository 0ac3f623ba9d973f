#!/bin/sh
# Fifty random moments of three ranks that accumulate, keep an average of the weights
# and share the state of the optimizer out: see t/lib/moments.sh.
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$TOP/t/lib/moments.sh"
RANKS=3
OPTIONS=--shard-optim
BATCH=18
RECIPE='SOLVER.ACCUM: 2
SOLVER.EMA: true
SOLVER.EMA_STEPS: 3
SOLVER.EMA_DECAY: 0.99'
moments
done_testing
