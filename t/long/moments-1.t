#!/bin/sh
# Fifty random moments of two ranks: see t/lib/moments.sh.
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$TOP/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/fault.sh"
. "$TOP/t/lib/moments.sh"
SEED=1 MOMENTS=50
moments
done_testing
