#!/bin/sh
# Precisions that an engine has, imitates slowly, or refuses.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"

OMP_WAIT_POLICY=passive
export OMP_WAIT_POLICY
# bench ENGINE PRECISION: a step of a small network
bench() {
    "$BIN/accel-worker" bench -e "$1" -n 1 --warm 0 --precision "$2" -t 2 \
        MODEL.NAME resnet18 MODEL.WIDTH 8 INPUT.SIZE 32 SOLVER.BATCH 2 \
        > out 2> err
}

for precision in bf16 fp16 fp64; do
    bench ref $precision
    is $? 0 "ref computes in $precision"
done
# forward alone keeps nothing for a backward pass
"$BIN/accel-worker" bench -q -e ref -n 1 --warm 0 -t 2 MODEL.NAME resnet18 MODEL.WIDTH 8 \
    INPUT.SIZE 32 SOLVER.BATCH 2 > both
expect_status 0 'bench --forward' "$BIN/accel-worker" bench -q -e ref -n 1 --warm 0 -t 2 \
    --forward MODEL.NAME resnet18 MODEL.WIDTH 8 INPUT.SIZE 32 SOLVER.BATCH 2
is "$(jq -s '.[0].engine_bytes < .[1].engine_bytes / 2' out both)" true 'takes less than half of the memory'

# Batch statistics of one value: PyTorch refuses them, too, whoever computes.
for engine in ref cpu; do
    [ -f "$BIN/engine-$engine.so" ] || [ $engine = ref ] || continue
    expect_status 78 "one image of 1x1 for a norm: engine $engine" \
        "$BIN/accel-worker" bench -e $engine -n 1 --warm 0 MODEL.NAME resnet50 \
        MODEL.WIDTH 8 INPUT.SIZE 32 SOLVER.BATCH 1
    is "$(cat err)" 'accel-worker: layer4.0.bn2: one value per channel in training (1 image, of 1x1 here): a larger micro-batch or image is needed' \
        'and the layer is named'
done
[ -f "$BIN/engine-cpu.so" ] || {
    skip 1 'engine: no engine-cpu.so'
    done_testing
}
bench cpu fp16
is $? 69 'cpu refuses fp16'
is "$(cat err)" 'accel-worker: cpu: F16: oneDNN does not train in fp16' 'and says why'
is "$(cat out)" '' 'and does nothing instead'
bench cpu fp64
is $? 69 'cpu refuses fp64'
is "$(cat err)" 'accel-worker: cpu: F64: only engine ref computes in F64' 'and says why'

slow='accel-worker: cpu: BF16 is emulated here, which is slow'
bench cpu bf16
is $? 0 'cpu computes in bf16'
if grep -q avx512_bf16 /proc/cpuinfo; then
    is "$(cat err)" '' 'with instructions for it'
else
    is "$(cat err)" "$slow" 'without instructions for it'
fi
# of oneDNN 2 and 3: take this for a processor with AVX2 alone
DNNL_MAX_CPU_ISA=AVX2
ONEDNN_MAX_CPU_ISA=AVX2
MILLRACE_TILES=off
export DNNL_MAX_CPU_ISA ONEDNN_MAX_CPU_ISA MILLRACE_TILES
bench cpu bf16
is $? 0 'bf16 on a processor without it'
is "$(cat err)" "$slow" 'says that it is slow'
done_testing
