#!/bin/sh
# Hosts as network namespaces, two ranks each, on a network that delays and loses
# packets (t/unit/67-hub.c): sums, a host that is cut off, and going on after it.
TOP=${TOP:-$(dirname "$0")/../..}
. "$TOP/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"

ring=$BIN/allreduce-ring
w=$BIN/t/61-comm.t
net=mr$$
[ "$(id -u)" -eq 0 ] || skip_all 'root: network namespaces need it'
ip netns add ${net}x 2>ip.err || skip_all "netns: $(cat ip.err)"
ip netns del ${net}x
[ -e /dev/net/tun ] || skip_all 'tun: no /dev/net/tun'

network_down() {
	exec 9>&-
	for n in 0 1 2 3; do
		ip netns del $net$n 2>/dev/null
	done
	rm -f hub.in
}
trap 'network_down; tap_leave' EXIT

# network_up HOSTS DELAY_MS LOSS_PERMILLE: 10.77.0.1 is the first host
network_up() {
	names=
	n=0
	while [ $n -lt "$1" ]; do
		ip netns add $net$n
		ip -n $net$n link set lo up
		names="$names $net$n"
		n=$((n + 1))
	done
	rm -f hub.in hub.out
	mkfifo hub.in
	# shellcheck disable=SC2086
	"$BIN/t/67-hub.t" hub "$2" "$3" $names <hub.in >hub.out 2>hub.err &
	exec 9>hub.in
	tries=50
	while [ ! -s hub.out ] && [ $tries -gt 0 ]; do
		sleep 0.1
		tries=$((tries - 1))
	done
	n=0
	while [ $n -lt "$1" ]; do
		ip -n $net$n addr add 10.77.0.$((n + 1))/24 dev eth0
		ip -n $net$n link set eth0 up
		n=$((n + 1))
	done
}

# start_rank RANK WORLD COMMAND...: in the background, two ranks on a host
start_rank() {
	rank=$1
	world=$2
	shift 2
	ip netns exec "$net$((rank / 2))" env RANK="$rank" WORLD_SIZE="$world" \
		LOCAL_RANK=$((rank % 2)) LOCAL_WORLD_SIZE=2 GROUP_RANK=$((rank / 2)) \
		MASTER_ADDR=10.77.0.1 MASTER_PORT=29500 ACCEL_KEY_FILE="$PWD/key" \
		OMP_NUM_THREADS=1 "$@" >"out.$rank" 2>"err.$rank" &
	pids="$pids $!"
}

# start HOSTS OPTIONS WORKER...: all ranks of 61-comm.t
start() {
	hosts=$1
	shift
	pids=
	r=0
	while [ $r -lt $((hosts * 2)) ]; do
		start_rank $r $((hosts * 2)) "$ring" --timeout 60 -- "$w" worker "$@"
		r=$((r + 1))
	done
}

finish_all() {
	status=
	for p in $pids; do
		s=0
		wait "$p" || s=$?
		status="$status $s"
	done
}

# alive: how many of the processes are still there
alive() {
	n=0
	for p in $pids; do
		kill -0 "$p" 2>/dev/null && n=$((n + 1))
	done
	echo $n
}

# cut_off HOST: and wait at most 15 s; seconds in $took
cut_off() {
	echo "cut $1" >&9
	begin=$(date +%s%3N)
	while [ "$(alive)" -gt 0 ] && [ $(($(date +%s%3N) - begin)) -lt 20000 ]; do
		sleep 0.2
	done
	took=$(($(date +%s%3N) - begin))
	[ $took -lt 15000 ]
	ok $? "host $1 of $hosts is cut off: all ended within 15 s ($took ms)"
	for p in $pids; do
		kill -9 "$p" 2>/dev/null
	done
	finish_all
}

"$ring" keygen key

for hosts in 2 3 4; do
	network_up $hosts 2 5
	start $hosts steps=10 numel=50000
	finish_all
	is "$(echo "$status" | tr -d ' 0')" '' "$hosts hosts, 2 ms and 0.5 % away"
	like "$(cat out.0)" "^$((hosts * 2)) ranks, digest" 'add'
	ip netns exec ${net}0 true
	network_down
done

# A host is cut off at any moment.
for moment in 1.1 1.7 4.1; do
	for hosts in 2 3; do
		victim=$((hosts - 1))
		[ $moment != 1.7 ] || victim=0
		network_up $hosts 1 2
		start $hosts steps=1000000 numel=30000 sleep=5
		sleep $moment
		cut_off $victim
		unlike "$status" ' 0' 'no rank thinks that all is well'
		seen=0
		[ $victim -ne 0 ] || seen=2
		like "$(cat err.$seen err.$((seen + 1)))" \
			"host .* at 10.77.0.$((victim + 1)) \(ranks $((victim * 2)), $((victim * 2 + 1))\): lost|rank $((victim * 2))|rank 0 at 10.77.0.1" \
			'another host names it'
		network_down
	done
done

# ---- training goes on where it was

. "$TOP/t/lib/train.sh"
EPOCHS=8 make_data

# train DIR [OPTION]...: two hosts of two ranks
train() {
	dir=$1
	shift
	pids=
	for r in 0 1 2 3; do
		start_rank $r 4 sh -c "
			'$BIN/imgshard' feed shards/train.json -c '$CONFIG' --train --threads 1 \
				--from $dir/ckpt |
			'$ring' --timeout 60 -- '$BIN/accel-worker' train -c '$CONFIG' -o $dir \
				-e $ENGINE -t 1 --save-every 2it $*"
	done
}
network_up 2 1 2
train whole
finish_all
is "$status" ' 0 0 0 0' 'training over two hosts'
network_down
network_up 2 1 2
hosts=2
train cut --log-every 1
i=0
while [ ! -d cut/ckpt/step-000000004 ] && [ $i -lt 300 ]; do
	sleep 0.1
	i=$((i + 1))
done
cut_off 1
network_down
network_up 2 1 2
train cut
finish_all
is "$status" ' 0 0 0 0' 'started again'
equal whole cut 'cut off and started again'
network_down

# The same by launchers that try again: nobody types anything.
# launch NODE: the ranks of that host in the background
launch() {
	ip netns exec "$net$1" env ACCEL_KEY_FILE="$PWD/key" OMP_NUM_THREADS=1 \
		"$BIN/accel-launch" -n 2 --nodes 2 --node "$1" --master 10.77.0.1:29500 \
		--retries 30 -- sh -c "
			'$BIN/imgshard' feed shards/train.json -c '$CONFIG' --train --threads 1 \
				--from tried/ckpt |
			'$ring' --timeout 60 -- '$BIN/accel-worker' train -c '$CONFIG' -o tried \
				-e $ENGINE -t 1 --save-every 2it --log-every 1" >"out.$1" 2>"err.$1" &
	pids="$pids $!"
}
network_up 2 1 2
pids=
launch 0
launch 1
i=0
while [ ! -d tried/ckpt/step-000000004 ] && [ $i -lt 300 ]; do
	sleep 0.1
	i=$((i + 1))
done
echo 'cut 1' >&9
i=0
while ! grep -q 'restart 1' err.0 && [ $i -lt 300 ]; do
	sleep 0.1
	i=$((i + 1))
done
like "$(cat err.0)" 'host .* at 10.77.0.2 .*lost' 'a host is cut off under its launcher: it is named'
echo 'join 1' >&9
finish_all
is "$status" ' 0 0' 'the launchers start the run again when it is back'
like "$(cat err.0)" 'resuming from step [1-9]' 'from its checkpoint'
equal whole tried 'cut off and tried again'
network_down
none_left "*$PWD*" 'nothing is left'
done_testing
