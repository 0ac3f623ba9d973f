#!/bin/sh
# A GPU that is lost in the middle of training, without one (t/hostgpu): one line, a
# status with which the launcher tries again, and what has been saved is whole.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/devices.sh"

EPOCHS=1
make_data
run() { worker_run "$1" --save-every 1it; }
run whole
is $? 0 "a run"

# in the third step
HOSTGPU_FAIL=cudaGraphLaunch:2:700 run lost
is $? 76 "an illegal address"
is "$(grep -c 'GPU is lost to this process: an illegal memory access was encountered (CUDA error 700)$' \
    lost.err)" 1 "says so once"
is "$(grep -cv -e 'batch 16' -e 'fresh start' lost.err)" 1 "and nothing else"
like "$(checkpoints lost)" '0000000[12]' "steps were saved"
"$BIN/ckpt-merge" verify -q lost > out 2>&1
is $? 0 "what was saved is whole"
run lost
is $? 0 "the next process goes on"
equal whole lost "as if nothing had been"

# ---- two ranks, one of which is lost once
ranks 2 pair "--save-every 1it"
LAUNCH_FLAGS='--retries 1'
HOSTGPU_FAIL=launch:400:214:$PWD/struck ranks 2 again "--save-every 1it"
is $? 0 "an ECC error on one of two, and a retry"
ok "$(test -e struck; echo $?)" "it came"
equal pair again "as if nothing had been"
LAUNCH_FLAGS=
HOSTGPU_FAIL=launch:400:719:$PWD/first ranks 2 ring "--reduce ring --save-every 1it"
is $? 76 "without a retry, through the ring"
HOSTGPU_FAIL=launch:400:719:$PWD/second ranks 2 nccl "--reduce nccl --save-every 1it"
is $? 76 "and by NCCL"
like "$(cat nccl.err ring.err)" 'the GPU is lost to this process: unspecified launch failure' "why"

# ---- no memory
HOSTGPU_FAIL=cudaMalloc:6:2 run small
is $? 71 "no memory"
like "$(cat small.err)" 'memory: [0-9]+ MB wanted, .*smaller micro-batch takes less$' "says so"

done_testing
