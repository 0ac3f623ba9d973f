#!/bin/sh
# The checks of make gpu-check beside PyTorch, without a GPU: PyTorch on the CPU, our
# kernels on the host (t/hostgpu). Needs Python with torch (PEER_PYTHON).
. "${TOP:=$(cd "$(dirname "$0")/../.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/peer.sh"
peer_needs torch
[ -e "$BIN/t/hostgpu/engine-cuda.so" ] || skip_all "cuda: no toolkit to build the engine with"

checks='environment step rates rates-compiled'
# shellcheck disable=SC2086
GPU_FAKE=1 OUT=$PWD/rows PEER_PYTHON=$PY "$TOP/bench/gpu/check.sh" $checks > lines 2> err
is $? 0 "all pass" || tap_comment "$(cat lines)"
is "$(jq -r '.check + ":" + .verdict' lines | tr '\n' ' ')" \
    "$(for c in $checks; do printf '%s:pass ' "$c"; done)" "each one"
is "$(jq -r 'select(.row == "step").who' rows | tr '\n' ' ')" "torch ours ours " "a step of both, at two levels"
like "$(jq -r 'select(.check == "rates").figures["F16 B ratio"]' lines)" '^[0-9.e-]+$' "a ratio"

done_testing
