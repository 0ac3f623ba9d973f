#!/bin/sh
# All kernels of the cuda engine on the host, in all dtypes, threads in order and
# against it: a barrier that is missed shows in one of them.
. "${TOP:=$(cd "$(dirname "$0")/../.." && pwd)}/t/lib/tap.sh"

host=$BIN/t/hostgpu
[ -e "$host/engine-cuda.so" ] || skip_all "cuda: no toolkit to build the engine with"
ENGINE_DIR=$host
export ENGINE_DIR

for order in forward backward; do
    FAKECUDNN=one HOSTGPU_ORDER=$order "$BIN/t/30-ops.t" cuda "$host" > ops 2>&1
    is $? 0 "kernels and convolutions, threads $order"
    grep '^not ok' ops
done

done_testing
