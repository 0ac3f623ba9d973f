#!/bin/sh
# A process that is slow does no harm, one that is told to stop saves first: every
# phase of every program.
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$TOP/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/fault.sh"

make_whole
RING=$PATIENT
for phase in start data forward backward reduce step end feed.batch ring.add \
    ring.join ring.leave ckpt file launch; do
    hurt slow=30:rank1:phase=$phase 0
done
hurt slow=30:rank0:phase=ckpt 0
hurt term:rank1:phase=start 75
for phase in data forward backward reduce step; do
    hurt term:rank1:step7:phase=$phase 75
done
for phase in ckpt.begin ckpt.write file.half ckpt.rename ckpt.renamed ckpt.prune; do
    hurt term:rank0:step8:phase=$phase 75
done
hurt term:rank1:phase=end 0
for phase in ring.join ring.start ring.add launch.start; do
    hurt term:phase=$phase '75|143'
done
hurt term:rank1:step5:phase=feed.batch
done_testing
