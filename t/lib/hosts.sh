# hosts.sh - allreduce-ring over several hosts: each rank or group of ranks of
# this machine is a host of its own, joined over the loopback interface. Source
# it after tap.sh, ports.sh and procs.sh; $ring and $w are set here.
# shellcheck disable=SC2034,SC2154
w=$BIN/t/61-comm.t
ring=$BIN/allreduce-ring

# hosts N L "OPTIONS" COMMAND...: N hosts of L ranks; statuses in $status, outputs
# in out.R and err.R
hosts() {
	n=$1
	l=$2
	opts=$3
	shift 3
	new_port
	r=$((n * l - 1))
	pids=
	while [ $r -ge 0 ]; do
		# shellcheck disable=SC2086
		timeout 60 "$ring" --timeout 20 --rank $r --world $((n * l)) \
			--local-rank $((r % l)) --local-world "$l" \
			--rdzv "sock$((r / l))" --master 127.0.0.1:$port $opts -- "$@" \
			>out.$r 2>err.$r &
		pids="$! $pids"
		r=$((r - 1))
	done
	finish_all
}
