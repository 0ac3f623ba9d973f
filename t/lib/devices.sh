# devices.sh - ranks that each have a device of the host (t/hostgpu), for tests
# that source tap.sh and train.sh. Four devices; skips all where there is no engine.

host=$BIN/t/hostgpu
[ -e "$host/engine-cuda.so" ] || skip_all "cuda: no toolkit to build the engine with"
ENGINE_DIR=$host
HOSTGPU_GPUS=4
TMPDIR=$PWD
# for ranks of train.sh
# shellcheck disable=SC2034
ENGINE=cuda
# shellcheck disable=SC2034
WORKER_FLAGS="--engine-dir '$host'"
export ENGINE_DIR HOSTGPU_GPUS TMPDIR

# For run of train.sh too, with all threads that the engine wants.
worker() {
    worker_dir=$1
    shift
    "$WORKER" train -c "$CONFIG" -o "$worker_dir" -e cuda --engine-dir "$host" "$@"
}
