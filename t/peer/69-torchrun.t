#!/bin/sh
# Under the real torchrun: ranks of one agent, and of two agents as two nodes.
# Needs Python with torch (PEER_PYTHON).
. "${TOP:=$(cd "$(dirname "$0")/../.." && pwd)}/t/lib/tap.sh"

PY=${PEER_PYTHON:-python3}
"$PY" -c 'import torch.distributed.run' 2>/dev/null || skip_all 'torch is not there'
launch=$BIN/accel-launch
ring=$BIN/allreduce-ring
w=$BIN/t/61-comm.t
port=$((26000 + 2 * ($$ % 9000)))

"$launch" -n 4 -- "$ring" -- "$w" worker >want 2>/dev/null
is "$?" 0 'four ranks of our own'
timeout 100 "$PY" -m torch.distributed.run --no-python --nproc-per-node 4 \
	--master-addr 127.0.0.1 --master-port $port "$launch" -n 1 -- "$ring" --timeout 60 -- "$w" worker >out 2>err
is "$?" 0 'torchrun starts accel-launch' || tap_comment "$(tail -n 20 err)"
same out want 'the same sums'
timeout 100 "$PY" -m torch.distributed.run --no-python --nproc-per-node 2 \
	--master-addr 127.0.0.1 --master-port $port "$launch" -n 2 -- "$ring" --timeout 60 -- "$w" worker >out 2>err
is "$?" 0 'two, each of two ranks'
same out want 'the same sums'
timeout 100 "$PY" -m torch.distributed.run --no-python --nproc-per-node 4 \
	--master-addr 127.0.0.1 --master-port $port "$ring" --timeout 60 -- "$w" worker >out 2>err
is "$?" 0 'or the ring itself'
same out want 'the same sums'

# two nodes
timeout 100 "$PY" -m torch.distributed.run --no-python --nproc-per-node 2 --nnodes 2 --node-rank 1 \
	--master-addr 127.0.0.1 --master-port $port "$launch" -n 1 -- "$ring" --timeout 60 -- "$w" worker >out.1 2>err.1 &
other=$!
timeout 100 "$PY" -m torch.distributed.run --no-python --nproc-per-node 2 --nnodes 2 --node-rank 0 \
	--master-addr 127.0.0.1 --master-port $port "$launch" -n 1 -- "$ring" --timeout 60 -- "$w" worker >out 2>err
is "$?" 0 'two nodes' || tap_comment "$(tail -n 20 err)"
same out want 'the same sums'
s=0
wait $other || s=$?
is $s 0 'on both'
done_testing
