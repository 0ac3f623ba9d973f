#!/bin/sh
# Several ranks, each on a device, without a GPU (t/hostgpu): the same bits whether
# gradients travel through the ring or are added by NCCL, which here is one of ours.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/devices.sh"

EPOCHS=0.5
make_data
# sums in registered memory alone
HOSTNCCL=strict
export HOSTNCCL
ranks 2 ring "--reduce ring"
is $? 0 "two devices, through the ring"
run accum SOLVER.ACCUM 2
weights ring accum "2 ranks x 1 = 1 rank x 2, bit for bit"
ranks 2 nccl ""
is $? 0 "by NCCL"
unlike "$(cat nccl.err)" 'through the host' "which is taken where it is"
equal ring nccl "by NCCL and through the ring"
ranks 2 ncclshard "--reduce nccl --shard-optim"
equal ring ncclshard "shards by NCCL"
ranks 2 cut "--reduce nccl --max-steps 1"
ranks 2 cut "--reduce ring"
equal ring cut "begun by NCCL, ended through the ring"
for by in ring nccl; do
    HOSTGPU_LATE=1 ranks 2 late$by "--reduce $by"
    equal ring late$by "$by, copies and sums as early as may be"
done
unset HOSTNCCL
for how in plain unregistered; do
    HOSTNCCL=$how ranks 2 $how "--reduce nccl -v"
    is "$(cat $how.log/* | grep -c 'NCCL: gradients are not registered: nccl')" 1 "$how memory: is said once"
    equal ring $how "$how memory"
done

# ---- 16 bits
ranks 2 half "--reduce nccl --wire bf16"
is $? 0 "sums of bf16"
differ ring half "sums of bf16"
ranks 2 again "--reduce nccl --wire bf16"
equal half again "sums of bf16, twice"
is "$(find . -name 'hostnccl-*')" "" "the ranks that met left nothing"

# ---- what NCCL says, which opens the file for it as a new one
cat > logged << END
#!/bin/sh
echo before > said.\$RANK
exec "$WORKER" "\$@" 2>> said.\$RANK
END
chmod +x logged
WORKER=$PWD/logged NCCL_DEBUG=INFO ranks 2 spoke "--reduce nccl"
is $? 0 "NCCL speaks, with stderr a file"
for r in 0 1; do
    is "$(head -n 1 said.$r)" before "rank $r: the file keeps what it had"
    is "$(grep -c 'hostnccl speaks' said.$r)" 1 "rank $r: and gets what was said"
done

# ---- which device: --device, or that of the local rank; and what fp32 is there
begin() { "$WORKER" init -v -e cuda "$@" -o x.safetensors MODEL.CLASSES 4 2> err; }
begin --device 3
is $? 0 "a device by number"
like "$(cat err)" 'engine cuda: device 3 ' "is taken"
unlike "$(cat err)" 'TF32' "fp32 is fp32"
LOCAL_RANK=2 begin --tf32
like "$(cat err)" 'engine cuda: device 2 .*, fp32 as TF32' "the local rank's, with shorter products"
begin --device 4
is $? 69 "a device that is not there"
like "$(cat err)" 'device 4: there are 4' "is told"

done_testing
