#!/bin/sh
# Ranks on devices, without a GPU (t/hostgpu): what is said where there are too few
# devices or no NCCL; a rank that is lost in the middle of a sum.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/train.sh" # has a run of its own
. "$TOP/t/lib/devices.sh"

# refused STATUS NAME SENTENCE [WORKER OPTION]...: of two ranks
refused() {
    want=$1
    name=$2
    sentence=$3
    shift 3
    ranks 2 no "$*"
    is $? "$want" "$name"
    like "$(cat no.err)" "$sentence" "$name: says so"
    rm -rf no no.log
}
EPOCHS=0.5
make_data

# ---- what cannot be
HOSTGPU_GPUS=1 refused 78 "more ranks than devices" \
    'ranks 0 and 1 have the same device: as many ranks as devices \(NGPU\), or --share-device lets them take turns'
HOSTGPU_GPUS=1 ranks 2 shared "--share-device"
is $? 0 "unless told"
like "$(cat shared.err)" 'gradients travel through the host: NCCL: not where ranks have the same device$' \
    "NCCL does not do that, which is said"
is "$(cat shared.log/* | grep -c 'travel through the host')" 1 "once"
ranks 2 ring "--reduce ring"
equal ring shared "two ranks on a device"
HOSTGPU_GPUS=1 refused 69 "--reduce nccl on one device" 'NCCL: not where ranks have the same device' \
    --share-device --reduce nccl
HOSTNCCL=old refused 69 "an old NCCL" 'cuda: ranks: libnccl\.so\.2 is NCCL 2\.14\.3: 2\.18 is needed' --reduce nccl
HOSTNCCL=old ranks 2 old ""
is $? 0 "that is not insisted on"
like "$(cat old.err)" 'gradients travel through the host: cuda: ranks: libnccl\.so\.2 is NCCL 2\.14\.3' "is not taken"
mkdir other
for lib in libcudnn.so.9 libhostgpu.so; do
    cp "$host/$lib" other
done
cp "$host/libhostgpu.so" other/libnccl.so.2
ENGINE_DIR=$PWD/other refused 69 "a library that is not NCCL" 'cuda: ranks: libnccl\.so\.2: no ncclGetVersion' --reduce nccl
echo no > other/libnccl.so.2
ENGINE_DIR=$PWD/other refused 69 "a file that is no library" 'cuda: ranks: cannot load .*other/libnccl\.so\.2: ' --reduce nccl
"$BIN/accel-launch" -n 2 --logdir cpu.log -- "$BIN/allreduce-ring" -- "$WORKER" bench \
    -e ref --reduce nccl -n 1 --warm 0 MODEL.CLASSES 4 INPUT.SIZE 32 MODEL.WIDTH 8 SOLVER.BATCH 4 > /dev/null 2> err
is $? 69 "NCCL on ref"
like "$(cat err)" 'engine ref brings no collectives' "says so"

# ---- what goes wrong later
HOSTNCCL=alone refused 76 "ranks that do not find each other" \
    'cuda: team_join: NCCL: no answer from the other ranks for 1 s' --reduce nccl --timeout 1
HOSTNCCL=broken refused 76 "a sum that fails" \
    'step [12]: cuda: wait: NCCL: between the ranks: unhandled system error \(NCCL_DEBUG=INFO tells more\)' --reduce nccl
HOSTNCCL=silent refused 76 "a sum that never ends" \
    'step [12]: .*(NCCL: no answer from the other ranks|reduction: no answer) for 1 s' --reduce nccl --timeout 1
WORKER=$BIN/t/faulty/accel-worker
FAULT=kill:rank1:step1:phase=reduce
refused 137 "a rank that is killed in a sum" 'rank 1.*killed' --reduce nccl --timeout 300
like "$(cat no.err)" 'rank 0 76' "ends the other with 76, long before the deadline"
FAULT=stop:rank1:step1:phase=reduce
refused 76 "one that stands still" 'step 1: reduction: no answer for 1 s' --reduce nccl --timeout 1
# Its batches lie in the feeder's memory, which the worker gives back when it ends.
FAULT=stop:rank1:step40:phase=reduce,slow=500:rank0:step40:phase=data
ranks 2 no "--reduce nccl --timeout 1" SOLVER.EPOCHS 50
is $? 76 "while the next batch is on its way to the device"
none_left "*$PWD/*" "nobody is left"

done_testing
