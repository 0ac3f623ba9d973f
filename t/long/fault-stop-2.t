#!/bin/sh
# A process stops itself: the other phases. The others wait for it as long
# as they may.
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$TOP/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/fault.sh"

make_whole
RING=$HASTY
hurt stop:rank0:step8:phase=ckpt.renamed 76 'rank 0'
hurt stop:rank0:step12:phase=ckpt.pruned 76 'rank 0'
hurt stop:rank1:phase=end 76 'rank 1'
hurt stop:rank1:phase=ring.join 76 'rank 1'
hurt stop:rank1:phase=ring.add 76 'rank 1'
hurt stop:rank0:phase=ring.leave
hurt stop:rank1:phase=feed.start 76 'rank 1'
hurt stop:rank1:step5:phase=feed.batch 76 'rank 1'
done_testing
