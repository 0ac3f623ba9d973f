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

# ---- plan says what a device gives, but for the engine's own within 3 %
# planned NAME "OPTIONS" "PLAN OPTIONS" [KEY VALUE]...: of ranks that trained
planned() {
    planned_name=$1
    planned_options=$2
    planned_more=$3
    shift 3
    HOSTGPU_PEAK=$PWD/peak ranks "$N" "plan$planned_name" "$planned_options --max-steps 1" MODEL.WIDTH 16 "$@"
    # shellcheck disable=SC2086
    "$WORKER" plan --json -c "$CONFIG" -e cuda --engine-dir "$host" -n 64 $planned_more MODEL.CLASSES 4 \
        MODEL.WIDTH 16 "$@" > planned.json
    is "$(jq -n --slurpfile p planned.json --slurpfile got peak \
        '(($got[0] / 1048576 - $p[0].own) / ($p[0].memory - $p[0].own)) as $r | $r > 0.97 and $r < 1.03')" \
        true "$planned_name: as planned" || tap_comment "$(cat peak planned.json)"
}
for level in B C; do
    N=1 planned $level "--engine-level $level" "--engine-level $level" SOLVER.PRECISION fp16
done
N=4 planned ranks "--reduce nccl" "--world 4" SOLVER.PRECISION bf16
N=4 planned shards "--reduce ring --shard-optim" "--world 4 --shard-optim"

done_testing
