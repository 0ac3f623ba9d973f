#!/bin/sh
# A process kills itself: every phase of every program.
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$TOP/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/fault.sh"

make_whole
hurt kill:rank1:phase=start 137 'rank 1'
for phase in data forward backward reduce step; do
    hurt kill:rank1:step7:phase=$phase 137 'rank 1'
done
for phase in ckpt.begin ckpt.write file.half file.rename; do
    hurt kill:rank1:step8:phase=$phase 137 'rank 1'
    hurt kill:rank0:step8:phase=$phase 137 'rank 0'
done
for phase in rename renamed prune pruned; do
    hurt kill:rank0:step12:phase=ckpt.$phase 137 'rank 0'
done
hurt kill:rank1:phase=end 137 'rank 1'
for phase in join start add; do
    hurt kill:rank0:phase=ring.$phase 137 'rank 0'
    hurt kill:rank1:phase=ring.$phase 137 'rank 1'
done
hurt kill:rank1:phase=ring.leave 137 'rank 1'
hurt kill:rank1:phase=feed.start 76 'rank 1'
hurt kill:rank0:step5:phase=feed.batch 76 'rank 0'
hurt kill:rank1:phase=feed.end 0
hurt kill:phase=launch.start 137
hurt kill:phase=launch.watch 137
done_testing
