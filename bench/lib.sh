# lib.sh - shared by the comparisons: interpreter, medians, a row of the table.
#
# TOP          the checkout, set by who reads this
# BIN          programs (default: TOP/bin)
# PEER_PYTHON  interpreter that has the peer (default: python3)
# ROUNDS       rounds; ours and the peer's take turns (default: 5)
# THREADS      threads of either side (default: all CPUs)
BIN=${BIN:-$TOP/bin}
PEER_PYTHON=${PEER_PYTHON:-python3}
ROUNDS=${ROUNDS:-5}
THREADS=${THREADS:-$(getconf _NPROCESSORS_ONLN)}
# PyTorch allocates in every step: memory that is kept, on large pages, is its
# best case.
# shellcheck disable=SC2034
TUNED=glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1000000000000:glibc.malloc.top_pad=1000000000

# has_peer MODULE...: can the interpreter import them?
has_peer() {
    "$PEER_PYTHON" -c "import $(echo "$*" | tr ' ' ',')" 2>/dev/null
}

# need_peer MODULE...: ends the script where the interpreter has them not
need_peer() {
    has_peer "$@" || {
        echo "bench/${0##*/}: skipped: $PEER_PYTHON has no $* (set PEER_PYTHON)" >&2
        exit 0
    }
}

# scratch: sets dir, a folder that goes with the script
scratch() {
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    trap 'exit 130' INT TERM
}

# field NAME FILE: the number NAME of a JSON line
field() {
    sed -n "s/.*\"$1\":\([0-9.eE+-]*\).*/\1/p" "$2"
}

# median FILE: of one number a line
median() {
    sort -g "$1" | awk '{ v[NR] = $1 }
        END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

machine() {
    echo "date $(date +%Y-%m-%d), $(getconf _NPROCESSORS_ONLN) CPUs, load $(
        uptime | sed 's/.*average[s]*: //'), $THREADS threads, median of $ROUNDS rounds"
}

# row NAME OURS THEIRS: files of rates, images per second
row() {
    awk -v name="$1" -v a="$(median "$2")" -v b="$(median "$3")" 'BEGIN {
        printf "%-34s %9.1f %9.1f %7.2f\n", name, a, b, a / b }'
}
