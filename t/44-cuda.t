#!/bin/sh
# The cuda engine without a GPU: what it says where it cannot serve; its kernels
# and a whole training run on the host (t/hostgpu), where the device's memory is
# out of reach for the program, as on a card. All dtypes: t/slow/44-cuda.t.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"

host=$BIN/t/hostgpu
[ -e "$host/engine-cuda.so" ] || skip_all "cuda: no toolkit to build the engine with"

# ---- the plugin as it is
if nvidia-smi > /dev/null 2>&1; then
    skip 2 "none: there is a GPU here"
else
    expect_status 69 "no driver" "$BIN/accel-worker" init -e cuda -o x.safetensors MODEL.CLASSES 4
    like "$(cat err)" '^accel-worker: cuda: no NVIDIA driver on this host$' "says so"
fi

# ---- what can be wrong, one sentence each
# refused STATE SENTENCE
refused() {
    HOSTGPU=$1 expect_status 69 "$1" "$BIN/accel-worker" init -e cuda \
        --engine-dir "$host" -o x.safetensors MODEL.CLASSES 4
    like "$(cat err)" "$2" "$1: says so"
}
ENGINE_DIR=$host
export ENGINE_DIR
refused nodriver 'cuda: no NVIDIA driver on this host$'
refused olddriver 'cuda: driver supports CUDA 11\.8, this build needs 1[23]\.[0-9]+ \(driver [0-9]+ or newer\)$'
refused nogpu 'cuda: driver sees no GPU \(CUDA_VISIBLE_DEVICES is not set\)$'
CUDA_VISIBLE_DEVICES=7 refused nogpu 'cuda: driver sees no GPU \(CUDA_VISIBLE_DEVICES=7\)$'
refused oldgpu 'cuda: GPU 0 \(the host itself\) has compute capability 7\.0, this build has code for [0-9.]+ and newer \(make CUDA_ARCH=70\)$'
mkdir broken
echo no > broken/libcudnn.so.9
ENGINE_DIR=$PWD/broken refused nothing 'cuda: cannot load .*broken/libcudnn.so.9: '
HOSTGPU=nogpu "$BIN/accel-worker" init -v -e auto --engine-dir "$host" -o x.safetensors MODEL.CLASSES 4 2> err
is $? 0 "auto takes another engine"
like "$(cat err)" 'engine cuda: driver sees no GPU' "and says why"
ENGINE=auto
EPOCHS=1
make_data
ACCEL_ENGINE_DIR=$host HOSTGPU=nogpu run none
is $? 0 "trains without a GPU"
is "$(grep -c 'engine [a-z]* is taken: cuda: driver sees no GPU' none.err)" 1 "and says why, once"
HOSTGPU=nogpu "$BIN/accel-launch" -n 2 --logdir two.log -- sh -c "
    '$BIN/imgshard' feed shards/train.json -c '$CONFIG' --train | '$BIN/allreduce-ring' -- \\
    '$BIN/accel-worker' train -c '$CONFIG' -e auto --engine-dir '$host' -t 1" > /dev/null 2> two.err
is $? 0 "so do two ranks"
is "$(grep -c 'is taken: cuda: driver sees no GPU' two.err)" 1 "which say so once"
HOSTGPU=turing expect_status 69 "bf16 on a card of 7.5" "$BIN/accel-worker" bench -n 1 \
    -e cuda --engine-dir "$host" SOLVER.PRECISION bf16
like "$(cat err)" 'cuda: BF16: compute capability 8\.0 is needed, the host itself has 7\.5$' "says so"

# ---- kernels
FAKECUDNN=one "$BIN/t/30-ops.t" cuda "$host" F16 > ops 2>&1
is $? 0 "kernels and convolutions in fp16"
grep '^not ok' ops
"$BIN/t/35-made.t" cuda "$host" > made 2>&1
is $? 0 "what is made again, in all dtypes"
grep '^not ok' made

# ---- a run, with the device's memory guarded
HOSTGPU_GUARD=1
export HOSTGPU_GUARD
# losses DIR: of each step, rounded
losses() { jq -r 'select(.phase == "train") | .loss * 1000 | round / 1000' "$1/metrics.jsonl"; }
ENGINE=ref
run plain
is $? 0 "4 steps on ref"
ENGINE=cuda
ACCEL_ENGINE_DIR=$host
export ACCEL_ENGINE_DIR
HOSTGPU_COUNTS=$PWD/counts run ours
is $? 0 "and on the kernels of cuda"
is "$(losses ours)" "$(losses plain)" "with the same losses"
like "$(cat counts)" '^[0-9]+ 1 3$' "one graph, of the second step, launched for it and the two behind"
worker_run again --no-graph
equal ours again "call by call and as a graph"
HOSTGPU=nograph run refused
equal ours refused "where a graph cannot be made"
is "$(grep -c 'graph: .*: steps go to the device call by call' refused.err)" 1 "says so once"
HOSTGPU_FAIL=cudaStreamBeginCapture:1:900 run unbegun
equal ours unbegun "where none can be begun"
is "$(grep -c 'record: .*: steps go to the device call by call' unbegun.err)" 1 "says so once"
run half SOLVER.PRECISION fp16
is $? 0 "in fp16"
unlike "$(cat half.err)" 'level C' "with all forms of level C"
for mode in nofallback onlyfallback; do
    FAKECUDNN=$mode run $mode SOLVER.PRECISION fp16
    equal half $mode "heuristics that fail, $mode"
done
FAKECUDNN=nomodes expect_status 69 "all of them" "$BIN/accel-worker" bench -q -n 1 -e cuda \
    --engine-dir "$host" MODEL.CLASSES 4 MODEL.WIDTH 8 INPUT.SIZE 32 SOLVER.BATCH 4
like "$(cat err)" 'cuDNN: heuristics: refused: no heuristics today' "says so"
FAKECUDNN=none expect_status 69 "no engine at all" "$BIN/accel-worker" bench -q -n 1 -e cuda \
    --engine-dir "$host" MODEL.CLASSES 4 MODEL.WIDTH 8 INPUT.SIZE 32 SOLVER.BATCH 4
like "$(cat err)" 'cuDNN: no engine of 0 proposed fits' "says so"

# ---- a run that goes on elsewhere: card, processor, card
worker() {
    worker_dir=$1
    shift
    "$BIN/accel-worker" train -c "$CONFIG" -o "$worker_dir" -e "$ENGINE" -t 1 --log-every 1 "$@"
}
[ -e "$BIN/engine-cpu.so" ] && other=cpu || other=ref
steps="SOLVER.SCHED step SOLVER.WARMUP_EPOCHS 0 SOLVER.BASE_LR 0.005"
ENGINE=ref
# shellcheck disable=SC2086
run staying $steps SOLVER.EPOCHS 3
for epoch in 1 2 3; do
    [ $epoch = 2 ] && ENGINE=$other || ENGINE=cuda
    # shellcheck disable=SC2086
    run moving $steps SOLVER.EPOCHS $epoch
    is $? 0 "epoch $epoch on $ENGINE"
    like "$(cat moving.err)" "$([ $epoch = 1 ] && echo 'fresh start' || echo "resuming from step $((4 * epoch - 4))")" \
        "from where it stood"
done
is "$(jq -r 'select(.phase == "train") | .step' moving/metrics.jsonl | tr '\n' ' ')" \
    "$(jq -r 'select(.phase == "train") | .step' staying/metrics.jsonl | tr '\n' ' ')" "each step once"
losses staying > staying.losses
losses moving | paste staying.losses - |
    awk '{ d = $1 - $2; if (d > 0.01 || d < -0.01) exit 1 } END { if (NR != 12) exit 1 }'
ok $? "with the losses of a run that stays" || tap_comment "$(losses moving | paste staying.losses -)"
ENGINE=cuda

# ---- memory is the limit: what a step of ResNet-50 moves is no more than planned
for level in B:348 C:280; do
    "$BIN/accel-worker" plan -q --json -e cuda --engine-dir "$host" --engine-level "${level%:*}" \
        MODEL.NAME resnet50 SOLVER.BATCH 256 SOLVER.PRECISION fp16 > plan.json
    is "$(jq ".traffic > 250 and .traffic < ${level#*:}" plan.json)" true "level ${level%:*}: MB/image"
done

# ---- pictures with zeros behind their channels
for precision in fp16 bf16; do
    "$BIN/accel-worker" bench -q -n 1 --warm 0 -e cuda --engine-dir "$host" --trace trace MODEL.CLASSES 4 \
        MODEL.WIDTH 8 INPUT.SIZE 32 SOLVER.BATCH 4 SOLVER.PRECISION $precision > /dev/null
    is "$(grep -c "conv .*pitch" trace)" 2 "$precision: the stem, forward and wgrad"
done
FAKECUDNN=scalar run dense SOLVER.PRECISION fp16
equal half dense "without them"

# ---- level C is level B in other pieces
graphs=$BIN/t/40-graph.t
BIN=$host "$graphs" cuda > graph 2>&1
is $? 0 "networks in fp32 and, at level C, in fp16 against fp64"
grep '^not ok' graph

done_testing
