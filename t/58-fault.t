#!/bin/sh
# Programs that are hurt at a moment of their own (lib/util/fault.h): some moments;
# t/slow/fault-*.t and t/long have the others.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/fault.sh"

expect_status 64 'a program that is built to be used knows of no faults' \
    env ACCEL_FAULT=kill "$BIN/ckpt-merge" ls
like "$(cat err)" 'environment: .*ACCEL_FAULT' 'and refuses the variable'
expect_status 64 'a fault that is not understood' env ACCEL_FAULT=kill:rnk1 "$FAULTY/ckpt-merge" ls

make_whole
hurt kill:rank1:step7:phase=backward 137 'rank 1'
hurt kill:rank0:step8:phase=ckpt.rename 137
hurt full:rank1:step8:phase=ckpt.write 0 'earlier ones are kept'
hurt small:rank0:step8:phase=ckpt.begin 0 'no room: .*earlier ones are kept'
RING=$HASTY
hurt stop:rank1:step7:phase=reduce 76 'rank 1'
RING=$PATIENT
hurt term:rank1:step6:phase=forward 75

done_testing
