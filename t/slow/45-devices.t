#!/bin/sh
# Four devices without a GPU (t/hostgpu), a network of several buckets: the same
# bits through the ring and by NCCL, in the other precisions too.
. "${TOP:=$(cd "$(dirname "$0")/../.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/devices.sh"

EPOCHS=0.5
make_data
for precision in fp32 fp16; do
    set -- MODEL.WIDTH 16 SOLVER.PRECISION $precision
    ranks 4 ring$precision "--reduce ring" "$@"
    is $? 0 "$precision through the ring"
    ranks 4 nccl$precision "--reduce nccl" "$@"
    equal ring$precision nccl$precision "$precision by NCCL"
    ranks 4 shards$precision "--reduce nccl --shard-optim" "$@"
    equal ring$precision shards$precision "$precision in shards"
done
ranks 4 shards "--reduce ring --shard-optim" MODEL.WIDTH 16
equal ringfp32 shards "shards through the ring"
MILLRACE_SLOTS=off ranks 4 pipes "--reduce ring" MODEL.WIDTH 16
equal ringfp32 pipes "through the pipe"
ranks 3 ring3 "--reduce ring" SOLVER.BATCH 12
ranks 3 nccl3 "--reduce nccl" SOLVER.BATCH 12
equal ring3 nccl3 "three devices"
ranks 4 half "--reduce nccl --wire f16" MODEL.WIDTH 16
is $? 0 "sums of f16"
differ ringfp32 half "sums of f16"

done_testing
