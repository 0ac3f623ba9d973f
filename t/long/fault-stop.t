#!/bin/sh
# A process stops itself: phases of the steps. The others wait for it as long
# as they may.
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$TOP/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/fault.sh"

make_whole
RING=$HASTY
hurt stop:rank1:step7:phase=data 76 'rank 1'
hurt stop:rank1:step7:phase=backward 76 'rank 1'
hurt stop:rank0:step7:phase=step 76 'rank 0'
hurt stop:step7:phase=forward 76 'stopped'
hurt stop:rank1:phase=start 76 'rank 1'
hurt stop:rank1:step8:phase=ckpt.begin 76 'rank 1'
hurt stop:rank0:step8:phase=file.half 76 'rank 0'
done_testing
