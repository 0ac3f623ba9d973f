#!/bin/sh
# check.sh - all that is to be seen on a machine with a GPU, in ten minutes.
#
# usage: bench/gpu/check.sh [CHECK...]        or: make gpu-check
#
# Runs the checks of checks.sh one after the other, those of correctness first,
# each within its own time and all within GPU_MINUTES (10). A check that fails or
# hangs is recorded and the next goes on. Each prints one JSON line here; that and
# its rows go to OUT, a file or a folder that is there for CARD-DATE.jsonl
# (bench/gpu; see README.md beside this), and what else was said beside it, .log.
#
# GPU_FAKE=1       without a GPU: tiny sizes, our kernels on the host, PyTorch on
#                  the CPU, no limits but those that are set; OUT is then in /tmp
#                  unless it is set
# GPU_LIMIT        seconds that a check gets at most
# ENGINE_LEVEL     B or C; empty: the richest forms there are
# PEER_PYTHON      a Python that has PyTorch (python3)
#
# Exit status: 0 all passed, 1 something failed, 69 there is no GPU.
set -u
TOP=$(cd "$(dirname "$0")/../.." && pwd)
here=$TOP/bench/gpu
cd "$TOP" || exit
GPU_FAKE=${GPU_FAKE:-}
if [ -n "$GPU_FAKE" ]; then
    GPU_MINUTES=${GPU_MINUTES:-600}
else
    GPU_MINUTES=${GPU_MINUTES:-10}
fi
PEER_PYTHON=${PEER_PYTHON:-python3}
export TOP GPU_FAKE PEER_PYTHON ENGINE_LEVEL="${ENGINE_LEVEL:-}"

say() {
    echo "gpu-check: $*" >&2
}

# ---- is there anything to check, and with what
cards=
[ -n "$GPU_FAKE" ] || cards=$(nvidia-smi -L 2> /dev/null | grep '^GPU')
if [ -z "$GPU_FAKE$cards" ]; then
    say "no NVIDIA GPU on this machine (nvidia-smi -L lists none)"
    exit 69
fi
start=$(date +%s)
if [ -z "${BIN:-}" ]; then
    if [ -z "$GPU_FAKE" ] && [ -x bin/gpu-kit/accel-worker ]; then
        BIN=$TOP/bin/gpu-kit
        [ "$(cat "$BIN/made")" = "$("$here/sources.sh")" ] ||
            say "warning: bin/gpu-kit is of other sources (make gpu-kit)"
    else
        ${MAKE:-make} -s gpu-programs >&2 || exit
        BIN=$TOP/bin
    fi
fi
if [ -n "$GPU_FAKE" ]; then
    ENGINE_PLUGIN=${ENGINE_PLUGIN:-$BIN/t/hostgpu}
    [ -e "$ENGINE_PLUGIN/engine-cuda.so" ] ||
        ${MAKE:-make} -s bin/t/hostgpu/engine-cuda.so >&2 || exit
    ENGINE_DIR=$ENGINE_PLUGIN
    OMP_NUM_THREADS=1
    export ENGINE_DIR OMP_NUM_THREADS
    card=fake
else
    ENGINE_PLUGIN=$BIN
    # GPU 0: NVIDIA H200 (UUID: GPU-...)
    card=$(echo "$cards" | sed -n '1s/^GPU [0-9]*: \(NVIDIA \)*\(.*\) (UUID.*/\2/p' |
        tr -c 'A-Za-z0-9._\n' -)
fi
export BIN ENGINE_PLUGIN

# Libraries of PyTorch serve ours too, so that both run the same cuDNN, which looks for
# its compiler, libnvrtc, on the loader's path. Python itself finds its own.
if [ -z "$GPU_FAKE" ] && [ -z "${ENGINE_DIR:-}" ]; then
    found=$("$PEER_PYTHON" "$here/peer.py" libraries 2> /dev/null)
    for dir in $found; do
        if [ -e "$dir/libcudnn.so.9" ]; then
            ENGINE_DIR=$dir
        else
            LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$dir
            export LD_LIBRARY_PATH
        fi
    done
    [ -z "${ENGINE_DIR:-}" ] || export ENGINE_DIR
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
# trials of convolutions are made once for all checks, and on this card now
export GPU_WORK="$work" MILLRACE_CACHE="$work/cache"
day=$(date -u +%Y-%m-%d)
folder=$here
[ -z "$GPU_FAKE" ] || folder=${TMPDIR:-/tmp}
OUT=${OUT:-$folder}
[ ! -d "$OUT" ] || OUT=$OUT/${card:-card}-$day.jsonl
log=${OUT%.jsonl}.log
: > "$OUT" && : > "$log" || exit
end=$((start + GPU_MINUTES * 60 - 15)) # what is killed needs 5 to end
failed=0

# string TEXT: as JSON, on one line of at most 400 bytes
string() {
    printf '"%s"' "$(printf '%s' "$1" | tr '\n\t' '  ' | tr -d '\042\134' |
        LC_ALL=C tr -cd ' -~' | cut -c1-400)"
}

# check NAME SECONDS: one of checks.sh, which gets no longer than that
check() {
    name=$1
    begin=$(date +%s)
    limit=$((end - begin))
    own=$2
    [ -z "$GPU_FAKE" ] || own=$limit # how long a busy host takes nobody knows
    for l in "$own" "${GPU_LIMIT:-$own}"; do
        [ "$l" -gt "$limit" ] || limit=$l
    done
    : > "$work/rows"
    : > "$work/err"
    if [ "$((end - begin))" -lt 3 ]; then
        status=75
        echo 'no time was left' > "$work/err"
    else
        mkdir -p "$work/$name"
        (cd "$work/$name" && GPU_SECONDS=$limit \
            timeout -k 5 "$limit" sh "$here/checks.sh" "$name") \
            > "$work/rows" 2> "$work/err" < /dev/null
        status=$?
    fi
    case $status in
    0) verdict=pass ;;
    75) verdict=skip ;;
    124 | 137) verdict=timeout ;;
    *) verdict=fail ;;
    esac
    case $verdict in
    fail | timeout) failed=$((failed + 1)) ;;
    esac
    # A row that was cut off by the end of its time is no JSON.
    grep '^{.*}$' "$work/rows" > "$work/whole"
    [ ! -s "$work/err" ] || {
        echo "==== $name: $verdict"
        tail -n 500 "$work/err"
    } >> "$log"
    sed '$d' "$work/whole" | sed "s/^{/{\"check\":\"$name\",/" >> "$OUT"
    figures=$(tail -n 1 "$work/whole")
    why=
    [ "$verdict" = pass ] || why=$(tail -n 3 "$work/err")
    printf '{"check":"%s","verdict":"%s","s":%d%s%s}\n' "$name" "$verdict" \
        $(($(date +%s) - begin)) "${figures:+,\"figures\":$figures}" \
        "${why:+,\"why\":$(string "$why")}" | tee -a "$OUT"
}

# ---- what is right first, then what is fast; the limits are those of a slow day
[ $# -gt 0 ] || set -- environment sentences kernels choices step descent graph \
    memory rates layers fed rates-compiled sanitizer
for name; do
    case $name in
    environment) check "$name" 75 ;;
    sentences) check "$name" 40 ;;
    kernels) check "$name" 120 ;;
    choices) check "$name" 120 ;;
    step) check "$name" 120 ;;
    descent) check "$name" 90 ;;
    graph) check "$name" 75 ;;
    memory) check "$name" 60 ;;
    rates) check "$name" 150 ;;
    layers) check "$name" 90 ;;
    fed) check "$name" 75 ;;
    rates-compiled) check "$name" 180 ;;
    sanitizer) check "$name" 120 ;;
    *)
        say "$name: no such check"
        exit 64
        ;;
    esac
done
say "$failed failed, $(($(date +%s) - start)) s, $OUT"
[ "$failed" -eq 0 ]
