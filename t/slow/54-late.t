#!/bin/sh
# A step that the host does not wait for, on a device of the host (t/hostgpu) that
# works at once and on one that works as late as it may.
. "${TOP:=$(cd "$(dirname "$0")/../.." && pwd)}/t/lib/tap.sh"

host=$BIN/t/hostgpu
[ -e "$host/engine-cuda.so" ] || skip_all "cuda: no toolkit to build the engine with"
ENGINE_DIR=$host
export ENGINE_DIR

for late in at-once late; do
    [ $late = at-once ] || export HOSTGPU_LATE=1
    "$BIN/t/54-late.t" cuda "$host" > late 2>&1
    is $? 0 "scale, verdict and loss, at once or late, call by call or from a tape: $late"
    grep '^not ok' late
done
unset HOSTGPU_LATE
# waits STEPS: for the device, of a whole program
waits() {
    HOSTGPU_COUNTS=$PWD/counts "$BIN/accel-worker" bench -q -n "$1" -e cuda \
        --engine-dir "$host" --no-tune MODEL.NAME resnet18 MODEL.WIDTH 8 INPUT.SIZE 16 \
        SOLVER.BATCH 2 SOLVER.PRECISION fp16 > /dev/null 2> bench.err
    cut -d' ' -f1 counts
}
few=$(waits 2)
many=$(waits 7)
[ $((many - few)) -le 5 ]
ok $? "at most one wait a step, for the step before: $few, $many"

done_testing
