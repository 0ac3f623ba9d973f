#!/bin/sh
# allreduce.sh - sums of gradients over ranks of this host beside Gloo (of PyTorch)
# and Open MPI, in turns; milliseconds of one sum, the median of ROUNDS.
# usage: bench/allreduce.sh [RANKS:BYTES]...
set -eu
TOP=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=bench/lib.sh
. "$TOP/bench/lib.sh"
tmp=$(mktemp -d "${TMPDIR:-/tmp}/millrace-b.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

peers=
if has_peer torch; then
    peers=gloo
else
    echo "allreduce.sh: no PyTorch for $PEER_PYTHON: Gloo is left out" >&2
fi
if command -v mpicc >/dev/null && mpicc -O2 -o "$tmp/mpi" "$TOP/bench/mpi_allreduce.c"; then
    peers="$peers mpi"
else
    echo "allreduce.sh: no mpicc: Open MPI is left out" >&2
fi

# once ENGINE RANKS BYTES ITERS: one JSON line into $tmp/out
once() {
    case $1 in
    ours) "$BIN/allreduce-ring" bench -n "$2" --bytes "$3" --iters "$4" ;;
    gloo) "$PEER_PYTHON" "$TOP/bench/torch_allreduce.py" "$2" "$3" "$4" ;;
    mpi) mpirun --allow-run-as-root --oversubscribe -n "$2" "$tmp/mpi" "$3" "$4" ;;
    esac >"$tmp/out" 2>"$tmp/err" || {
        cat "$tmp/err" >&2
        exit 1
    }
    field ms "$tmp/out" >>"$tmp/ms.$1"
}

machine
printf '%-24s %10s %10s %10s   %s\n' 'ranks, bytes' ours gloo mpi 'ratios'
[ $# -gt 0 ] || set -- 2:102228128 2:26214400 2:4096 4:102228128 4:26214400 4:4096
for c; do
    ranks=${c%%:*}
    bytes=${c#*:}
    iters=$((bytes < 100000 ? 300 : bytes < 50000000 ? 20 : 8))
    rm -f "$tmp"/ms.*
    i=0
    while [ $i -lt "$ROUNDS" ]; do
        for e in ours $peers; do
            once "$e" "$ranks" "$bytes" "$iters"
        done
        i=$((i + 1))
    done
    for e in ours gloo mpi; do
        if [ -e "$tmp/ms.$e" ]; then
            median "$tmp/ms.$e"
        else
            echo nan
        fi
    done | tr '\n' ' ' | awk -v name="$ranks, $bytes" \
        '{ printf "%-24s %10.3f %10.3f %10.3f   %.2f %.2f\n", name, $1, $2, $3, $2 / $1, $3 / $1 }'
done
