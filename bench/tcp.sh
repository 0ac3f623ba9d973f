#!/bin/sh
# tcp.sh - sums over HOSTS hosts beside what iperf3 moves over the same link:
# network namespaces joined by veth devices; in turns, the median of ROUNDS. What a
# host sends, and receives at the same time, is counted: 2 (H-1)/H of the bucket. So
# there is a second iperf3 that does both at once, of which the mean of the two ways
# is taken; ratios are to either. All hosts share the CPUs of this one: without a
# limit, they are what is measured. Needs root. PRIO (such as "chrt -r 5") goes
# before each program.
# usage: bench/tcp.sh [RATE|none]...       RATE as for tc, such as 1gbit
set -eu
TOP=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=bench/lib.sh
. "$TOP/bench/lib.sh"
BYTES=${BYTES:-26214400}
HOSTS=${HOSTS:-2}
tmp=$(mktemp -d "${TMPDIR:-/tmp}/millrace-b.XXXXXX")
net=mrb$$
clean() {
    for h in $(seq 0 "$HOSTS"); do
        ip netns del "$net-$h" 2>/dev/null || :
    done
    rm -rf "$tmp"
}
trap clean EXIT

# on HOST COMMAND...: there; the first is host 1
# shellcheck disable=SC2086
on() {
    h=$1
    shift
    ip netns exec "$net-$h" ${PRIO:-} "$@"
}

# Two are joined by a pair of devices, more by a bridge in namespace 0.
ip netns add "$net-0"
ip -n "$net-0" link add bridge type bridge
ip -n "$net-0" link set bridge up
for h in $(seq 1 "$HOSTS"); do
    ip netns add "$net-$h"
done
for h in $(seq 1 "$HOSTS"); do
    if [ "$HOSTS" -gt 2 ]; then
        ip -n "$net-$h" link add v type veth peer name "v$h" netns "$net-0"
        ip -n "$net-0" link set "v$h" master bridge up
    elif [ "$h" = 1 ]; then
        ip -n "$net-1" link add v type veth peer name v netns "$net-2"
    fi
    ip -n "$net-$h" addr add "10.78.0.$h/24" dev v
    ip -n "$net-$h" link set v up
done
"$BIN/allreduce-ring" keygen "$tmp/key"

# set_rate HOST RATE: of what it sends
set_rate() {
    on "$1" tc qdisc del dev v root 2>/dev/null || :
    [ "$2" = none ] || on "$1" tc qdisc add dev v root tbf \
        rate "$2" burst 256kb latency 20ms
}

# iperf FILE [OPTION]: Gb/s of a direction, of both their mean, to the end of FILE
iperf() {
    file=$1
    shift
    on 2 iperf3 -s -1 >"$tmp/server" 2>&1 &
    sleep 0.5
    on 1 iperf3 -c 10.78.0.2 -t 3 -J "$@" |
        sed -n '/"sum_received/,/}/s/.*"bits_per_second":[[:space:]]*\([0-9.e+]*\).*/\1/p' |
        awk '{ sum += $1 } END { print sum / NR / 1e9 }' >>"$file"
    wait $!
}

# ours OPTIONS: Gb/s that each host sends
ours() {
    set -- bench --key-file "$tmp/key" --bytes "$BYTES" --iters 30 --world "$HOSTS" \
        --master 10.78.0.1:29500 "$@"
    for h in $(seq 2 "$HOSTS"); do
        on "$h" "$BIN/allreduce-ring" "$@" --rank $((h - 1)) >/dev/null &
    done
    on 1 "$BIN/allreduce-ring" "$@" --rank 0 >"$tmp/out"
    wait
    field busbw "$tmp/out" | awk '{ print $1 * 8 }'
}

machine
printf '%-16s %8s %8s' "Gb/s of $BYTES" iperf3 --bidir
[ $# -gt 0 ] || set -- 1gbit 5gbit 10gbit 20gbit none
printf ' %8s %5s %5s' mac of of aead of of none of of bf16 of of
echo
for rate; do
    for h in $(seq 1 "$HOSTS"); do
        set_rate "$h" "$rate"
    done
    rm -f "$tmp/iperf" "$tmp/both" "$tmp"/ours.*
    i=0
    while [ $i -lt "$ROUNDS" ]; do
        iperf "$tmp/iperf"
        iperf "$tmp/both" --bidir
        for auth in mac aead none; do
            ours --wire-auth $auth >>"$tmp/ours.$auth"
        done
        ours --wire bf16 >>"$tmp/ours.bf16"
        i=$((i + 1))
    done
    link=$(median "$tmp/iperf")
    both=$(median "$tmp/both")
    printf '%-16s %8.2f %8.2f' "$rate" "$link" "$both"
    for auth in mac aead none bf16; do
        median "$tmp/ours.$auth" | awk -v l="$link" -v b="$both" '{
            printf " %8.2f %5.2f %5.2f", $1, $1 / l, $1 / b }'
    done
    echo
done
