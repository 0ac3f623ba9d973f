#!/bin/sh
# tcp.sh - sums over two hosts beside what iperf3 moves over the same link: two
# network namespaces and a pair of veth devices; in turns, the median of ROUNDS.
# Each host sends and receives the size of the bucket once, so there is a second
# iperf3 that does both at once; the ratios are to the first. Needs root.
# usage: bench/tcp.sh [RATE|none]...       RATE as for tc, such as 1gbit
set -eu
TOP=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=bench/lib.sh
. "$TOP/bench/lib.sh"
BYTES=${BYTES:-26214400}
tmp=$(mktemp -d "${TMPDIR:-/tmp}/millrace-b.XXXXXX")
a=mrb$$a
b=mrb$$b
clean() {
    ip netns del $a 2>/dev/null || :
    ip netns del $b 2>/dev/null || :
    rm -rf "$tmp"
}
trap clean EXIT

ip netns add $a
ip netns add $b
ip -n $a link add va type veth peer name vb netns $b
ip -n $a addr add 10.78.0.1/24 dev va
ip -n $b addr add 10.78.0.2/24 dev vb
ip -n $a link set va up
ip -n $b link set vb up
"$BIN/allreduce-ring" keygen "$tmp/key"

# set_rate NAMESPACE DEVICE RATE
set_rate() {
    ip netns exec "$1" tc qdisc del dev "$2" root 2>/dev/null || :
    [ "$3" = none ] || ip netns exec "$1" tc qdisc add dev "$2" root tbf \
        rate "$3" burst 256kb latency 20ms
}

# iperf FILE [OPTION]: Gb/s of a direction to the end of FILE
iperf() {
    file=$1
    shift
    ip netns exec $b iperf3 -s -1 >"$tmp/server" 2>&1 &
    sleep 0.5
    ip netns exec $a iperf3 -c 10.78.0.2 -t 3 -J "$@" |
        sed -n '/"sum_received"/,/}/s/.*"bits_per_second":[[:space:]]*\([0-9.e+]*\).*/\1/p' |
        awk '{ print $1 / 1e9 }' >>"$file"
    wait $!
}

# ours OPTIONS: Gb/s of the bucket
ours() {
    set -- bench --key-file "$tmp/key" --bytes "$BYTES" --iters 10 --world 2 \
        --master 10.78.0.1:29500 "$@"
    ip netns exec $b "$BIN/allreduce-ring" "$@" --rank 1 >/dev/null &
    ip netns exec $a "$BIN/allreduce-ring" "$@" --rank 0 >"$tmp/out"
    wait $!
    field algbw "$tmp/out" | awk '{ print $1 * 8 }'
}

machine
printf '%-16s %8s %8s' "Gb/s of $BYTES" iperf3 --bidir
[ $# -gt 0 ] || set -- 1gbit 5gbit none
printf ' %8s %6s' mac ratio aead ratio none ratio bf16 ratio
echo
for rate; do
    set_rate $a va "$rate"
    set_rate $b vb "$rate"
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
    printf '%-16s %8.2f %8.2f' "$rate" "$link" "$(median "$tmp/both")"
    for auth in mac aead none bf16; do
        median "$tmp/ours.$auth" | awk -v l="$link" '{ printf " %8.2f %6.2f", $1, $1 / l }'
    done
    echo
done
