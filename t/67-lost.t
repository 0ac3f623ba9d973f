#!/bin/sh
# allreduce-ring over several hosts, as in 65-tcp.t: what happens when something
# dies, stands still or does not fit.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"

ring=$BIN/allreduce-ring
w=$BIN/t/61-comm.t
port=$((22000 + $$ % 20000))

# hosts N L "OPTIONS" COMMAND...: N hosts of L ranks; statuses in $status, outputs
# in out.R and err.R
hosts() {
	n=$1
	l=$2
	opts=$3
	shift 3
	port=$((port + 1))
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
	status=
	for p in $pids; do
		s=0
		wait "$p" || s=$?
		status="$status$s "
	done
}

# ---- something dies

hosts 2 2 '' "$w" worker rank=3 at=2 how=kill
is "$status" '76 76 76 137 ' 'a worker of another host is killed'
like "$(cat err.0)" 'rank 3: 61-comm.t \(pid [0-9]+\).* killed by signal 9 .* last seen at step 1' \
	'rank 0 names rank, program and step'
hosts 2 1 '' "$w" worker rank=0 at=2 how=exit65
is "$status" '65 65 ' 'a worker of the first host gives up'
hosts 3 1 '' "$w" worker rank=1 at=1 how=abort
like "$(cat err.2)" 'rank 1: .*: record 153: bad pixel' "its reason goes to a third host"
hosts 2 1 '--timeout 2 --tell 1' "$w" worker rank=1 at=1 how=stop
is "$status" '76 76 ' 'a rank that stands still is lost after the timeout'
for how in layout samples size step; do
	hosts 2 1 '' "$w" worker rank=1 "how=$how"
	is "$status" '78 78 ' "another $how is refused"
	like "$(cat err.0)" 'ranks 0 and 1 disagree' 'naming both ranks'
done

# The ring of another host is killed.
port=$((port + 1))
timeout 60 "$ring" --rank 1 --world 2 --master 127.0.0.1:$port -- "$w" worker sleep=50 steps=1000 \
	>out.1 2>err.1 &
other=$!
timeout 60 "$ring" --rank 0 --world 2 --master 127.0.0.1:$port -- "$w" worker sleep=50 steps=1000 \
	>out.0 2>err.0 &
first=$!
sleep 1
pkill -9 -P $other allreduce-ring
s=0
wait $first || s=$?
is "$s" 76 'a ring of another host is killed'
like "$(cat err.0)" 'host .* at 127.0.0.1 \(rank 1\): lost: connection (closed|lost).*, last seen at step' \
	'and the host is named'
wait $other

# The ring of another host stands still.
port=$((port + 1))
"$ring" --dead-after 2 --rank 1 --world 2 --master 127.0.0.1:$port -- "$w" worker sleep=50 steps=1000 \
	>out.1 2>err.1 &
other=$!
timeout 60 "$ring" --dead-after 2 --rank 0 --world 2 --master 127.0.0.1:$port -- "$w" worker sleep=50 steps=1000 \
	>out.0 2>err.0 &
first=$!
sleep 0.7
kill -STOP $other
s=0
wait $first || s=$?
is "$s" 76 'a ring of another host stands still'
like "$(cat err.0)" 'host .* at 127.0.0.1 \(rank 1\): lost: nothing heard for 2 s' 'and the host is named'
kill -CONT $other
s=0
wait $other || s=$?
is "$s" 76 'which ends when it wakes up'
done_testing
