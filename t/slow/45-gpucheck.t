#!/bin/sh
# All checks of make gpu-check without a GPU, but those beside PyTorch
# (t/peer/45-gpucheck.t); and what make gpu-kit made runs by itself.
. "${TOP:=$(cd "$(dirname "$0")/../.." && pwd)}/t/lib/tap.sh"

[ -e "$BIN/t/hostgpu/engine-cuda.so" ] || skip_all "cuda: no toolkit to build the engine with"
make -s -C "$TOP" "${BIN#"$TOP/"}/gpu/layers" "${BIN#"$TOP/"}/gpu/card" > log 2>&1
is $? 0 "the programs"

GPU_FAKE=1 PEER_PYTHON=none OUT=$PWD/rows "$TOP/bench/gpu/check.sh" environment > lines 2> err
is "$(jq -r '.verdict, (.figures | has("cudnn_sees"))' lines | tr '\n' ' ')" "pass true " "the card and the rest" ||
    tap_comment "$(cat lines)"
checks='sentences kernels choices layers descent graph memory fed'
# shellcheck disable=SC2086
GPU_FAKE=1 OUT=$PWD/rows "$TOP/bench/gpu/check.sh" $checks > lines 2> err
is $? 0 "all pass" || tap_comment "$(cat lines)"
is "$(jq -r '.check + ":" + .verdict' lines | tr '\n' ' ')" \
    "$(for c in $checks; do printf '%s:pass ' "$c"; done)" "each one"
is "$(jq -s 'map(select(.row == "layer" and .check == "layers")) | length > 200' rows)" true "rows of layers"
is "$(jq -s 'map(select(.row == "layer" and .error > 0.001 and .dtype != "BF16")) | length' rows)" 0 "all right"
is "$(jq -s 'map(select(.row == "refused") | .status == 69 or .what == "memory") | all' rows)" true "refusals"
is "$(jq -r 'select(.check == "descent").figures.same_bits' lines)" 1 "the same bits twice"
is "$(jq -r 'select(.check == "fed").figures.bottleneck' lines)" card "who waits"

done_testing
