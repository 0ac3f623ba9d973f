#!/bin/sh
# allreduce-ring over several hosts: each rank or pair of ranks of this machine is
# a host of its own, joined over the loopback interface.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
. "$TOP/t/lib/ports.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/hosts.sh"


# ---- sums

hosts 2 1 '' "$w" worker
is "$status" '0 0 ' 'two hosts of one rank'
is "$(cat out.0)" "$("$ring" --rank 0 --world 1 -- "$w" worker >/dev/null && cat out.0)" 'add'
digest2=$(cat out.0)
hosts 2 2 '' "$w" worker
is "$status" '0 0 0 0 ' 'two hosts of two ranks'
like "$(cat out.0)" '^4 ranks, digest' 'add'
digest4=$(cat out.0)
hosts 4 1 '--streams 1' "$w" worker
is "$status $(cat out.0)" "0 0 0 0  $digest4" 'four hosts, one connection each: the same sums'
# Two ranks here and one there; ranks dealt out in turns.
for map in '0:0:2:a 1:1:2:a 2:0:1:b' '0:0:2:a 1:0:2:b 2:1:2:a 3:1:2:b'; do
	new_port
	pids=
	for x in $map; do
		r=${x%%:*}
		l=${x#*:}
		h=${l##*:}
		l=${l%:*}
		timeout 60 "$ring" --timeout 20 --rank "$r" --world "$(echo "$map" | wc -w)" \
			--local-rank "${l%:*}" --local-world "${l#*:}" --rdzv "map$h" \
			--master 127.0.0.1:$port -- "$w" worker numel=50001 >"out.$r" 2>"err.$r" &
		pids="$pids $!"
	done
	status=
	for p in $pids; do
		s=0
		wait "$p" || s=$?
		status="$status$s"
	done
	is "$(echo "$status" | tr -d 0)$(wc -l <out.0)" 1 "ranks on hosts: $map"
done
hosts 3 1 '--wire-auth aead' "$w" worker steps=3 buckets=40 numel=20001
is "$status" '0 0 0 ' 'three hosts, many large buckets, encrypted'
hosts 2 1 '--wire-auth none --streams 3 --engine tcp' "$w" worker
is "$status $(cat out.0)" "0 0  $digest2" 'without tags'
hosts 2 1 '' "$w" worker exit=75
is "$status" '75 75 ' 'a status of all workers is that of the rings'
"$ring" --engine tcp -- "$w" worker >out 2>err
is $? 0 'the tcp engine on one host'

"$ring" keygen key
hosts 2 2 '--key-file key' "$w" worker
is "$status $(cat out.0)" "0 0 0 0  $digest4" 'with a key'

# ---- check and bench

# check_hosts "OPTIONS": two hosts of one rank examine each other
check_hosts() {
	new_port
	# shellcheck disable=SC2086
	"$ring" check --timeout 20 --rank 1 --world 2 --master 127.0.0.1:$port $1 >out.1 2>err.1 &
	# shellcheck disable=SC2086
	"$ring" check --timeout 20 --rank 0 --world 2 --master 127.0.0.1:$port $1 >out.0 2>err.0
	status="$? "
	s=0
	wait $! || s=$?
	status="$status$s "
}
for wire in f32 bf16 f16; do
	check_hosts "--wire $wire"
	is "$status" '0 0 ' "check over hosts, $wire"
done
like "$(cat out.0)" '2 ranks on 2 hosts meet, log in and add correctly' 'says what it saw'
is "$(cat out.1)" '' 'once'
if [ -e /proc/net/if_inet6 ] && grep -q '^0\{31\}1 ' /proc/net/if_inet6; then
	new_port
	"$ring" check --timeout 20 --rank 1 --world 2 --master "[::1]:$port" >out.1 2>err.1 &
	"$ring" check --timeout 20 --rank 0 --world 2 --master "[::1]:$port" >out.0 2>err.0
	status="$?"
	wait $!
	is "$status $?" '0 0' 'check over hosts, IPv6'
else
	skip 1 'ipv6: no loopback address'
fi

# ---- what does not fit

hosts 2 1 '' true
is "$status" '0 0 ' 'workers that do not speak'
new_port
"$ring" --timeout 20 --rank 2 --world 3 --master 127.0.0.1:$port -- true 2>err.1 &
other=$!
expect_status 78 'another world is refused' "$ring" --timeout 20 --rank 0 --world 2 \
	--master 127.0.0.1:$port -- true
like "$(cat err)" 'rank 2\): one of 3 ranks, rank 0 one of 2' 'with both numbers'
s=0
wait $other || s=$?
is "$s" 78 'on both sides'
new_port
"$ring" --timeout 20 --rank 1 --world 3 --wire bf16 --master 127.0.0.1:$port -- true 2>err.1 &
other=$!
expect_status 78 'another wire is refused' "$ring" --timeout 20 --rank 0 --world 3 \
	--master 127.0.0.1:$port -- true
wait $other
new_port
expect_status 76 'rank 0 waits until the deadline' "$ring" --timeout 1 --rank 0 --world 3 \
	--master 127.0.0.1:$port -- true
like "$(cat err)" 'rank 1, 2: not there within 1 s' 'and names who is missing'
expect_status 76 'the others wait for rank 0' "$ring" --timeout 1 --rank 1 --world 3 \
	--master 127.0.0.1:$port -- true
like "$(cat err)" 'rank 0 at 127.0.0.1:[0-9]*: not there within 1 s' 'and say where'
expect_status 64 'no port' "$ring" --rank 1 --world 3 --master 127.0.0.1 -- true
expect_status 69 'an interface that is not there' "$ring" --rank 1 --world 2 \
	--master 127.0.0.1:$port --iface nope0 -- true
hosts 2 1 "--iface lo --ports $((port + 100)),$((port + 300))" "$w" worker
is "$status $(cat out.0)" "0 0  $digest2" 'interface and range of ports'
done_testing
