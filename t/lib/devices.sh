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
ACCEL_ENGINE_DIR=$host
export ENGINE_DIR ACCEL_ENGINE_DIR HOSTGPU_GPUS TMPDIR
