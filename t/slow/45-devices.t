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
ranks 4 half "--reduce nccl --wire f16" MODEL.WIDTH 16
is $? 0 "sums of f16"
differ ringfp32 half "sums of f16"

done_testing
