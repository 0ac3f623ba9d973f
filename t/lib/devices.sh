# devices.sh - ranks that each have a device of the host (t/hostgpu), for tests
# that source tap.sh and train.sh. Four devices; skips all where there is no engine.

host=$BIN/t/hostgpu
[ -e "$host/engine-cuda.so" ] || skip_all "cuda: no toolkit to build the engine with"
ENGINE_DIR=$host
HOSTGPU_GPUS=4
TMPDIR=$PWD
WORKER=$BIN/accel-worker
export ENGINE_DIR HOSTGPU_GPUS TMPDIR

# ranks N DIR "WORKER OPTIONS" [KEY VALUE]...; FAULT is what ACCEL_FAULT says to the
# worker
ranks() {
    n=$1
    dir=$2
    options=$3
    shift 3
    "$BIN/accel-launch" -n "$n" --logdir "$dir.log" -- sh -c "
        '$BIN/imgshard' feed shards/train.json -c '$CONFIG' --train --threads 1 \
            --from $dir/ckpt $* |
        '$BIN/allreduce-ring' -- ${FAULT:+env ACCEL_FAULT=$FAULT} '$WORKER' train -c '$CONFIG' -o $dir \
            -e cuda --engine-dir '$host' -t 1 $options $*" > "$dir.out" 2> "$dir.err"
}
