#!/bin/sh
# make gpu-check where there is no GPU, and its driver: a check that fails or hangs
# is recorded and the next goes on. All checks, without a GPU: t/slow/45-gpucheck.t
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"

run=$TOP/bench/gpu/check.sh
mkdir programs bare
# A PATH without nvidia-smi
for p in sh dirname env grep; do
    ln -s "$(command -v $p)" bare/$p
done
PATH=$PWD/bare expect_status 69 "no GPU" "$run"
is "$(cat err)" "gpu-check: no NVIDIA GPU on this machine (nvidia-smi -L lists none)" "says so"
is "$(cat out)" "" "and nothing else"

# ---- a worker that hangs, and one that fails
cat > programs/accel-worker << 'END'
#!/bin/sh
case $1 in
bench) exec sleep 1000 ;;
*) echo "accel-worker: no 'use' \ at all" >&2; exit 3 ;;
esac
END
chmod +x programs/accel-worker
mkdir -p programs/t/hostgpu
: > programs/t/hostgpu/engine-cuda.so
# checks CHECK...: into lines and rows
checks() {
    GPU_FAKE=1 BIN=$PWD/programs OUT=$PWD/rows "$run" "$@" > lines 2> err
}
GPU_LIMIT=1 checks environment sanitizer
is $? 1 "one that hangs is told"
is "$(jq -r .verdict lines | head -n 1)" timeout "as such, and the next has its turn"
is "$(jq -s length lines)" 2 "a line each"
checks sentences sanitizer
is $? 1 "so is one that fails"
is "$(jq -r .verdict lines | tr '\n' ' ')" "fail skip " "the next is not there"
is "$(jq -r 'select(.check == "sentences").why' lines)" \
    "nogpu: not the one line 'cuda: driver sees no GPU' but: accel-worker: no 'use'  at all" \
    "why, in JSON"
is "$(jq -c 'select(.verdict)' rows)" "$(jq -c . lines)" "the file has the same"
is "$(jq -r 'select(.row).check' rows)" "" "the only row is in the figures"
GPU_MINUTES=0 checks environment sentences
is $? 0 "no time is no failure"
is "$(jq -r .verdict lines | sort -u)" skip "but skips the rest"
mkdir folder
GPU_FAKE=1 BIN=$PWD/programs OUT=$PWD/folder "$run" sanitizer > lines 2> err
is "$(jq -c . folder/fake-*.jsonl)" "$(jq -c . lines)" "a folder gets a file of the card's name"
is "$(find folder -name "*.log" | wc -l)" 1 "and what was said"
expect_status 64 "a check that is not there" env GPU_FAKE=1 BIN="$PWD/programs" OUT="$PWD/rows" "$run" nothing

done_testing
