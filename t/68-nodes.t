#!/bin/sh
# accel-launch on several nodes: launchers of this machine that are joined over
# the loopback interface, each of them a node.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
. "$TOP/t/lib/ports.sh"
. "$TOP/t/lib/procs.sh"

launch=$BIN/accel-launch
ring=$BIN/allreduce-ring
w=$BIN/t/61-comm.t
unset ACCEL_MASTER ACCEL_KEY_FILE ACCEL_RUN_ID JOB_COMPLETION_INDEX

# nodes M N COMMAND...: M nodes of N ranks; statuses in $status, outputs in out.I
# and err.I
nodes() {
	m=$1
	n=$2
	shift 2
	new_port
	i=$((m - 1))
	pids=
	while [ $i -ge 0 ]; do
		timeout 60 "$launch" -n "$n" --nodes "$m" --node $i --grace 1 \
			--master 127.0.0.1:$port --key-file key -- "$@" >out.$i 2>err.$i &
		pids="$! $pids"
		i=$((i - 1))
	done
	finish_all
}

"$ring" keygen key
"$launch" -n 4 -- "$ring" -- "$w" worker >want 2>err
is "$?" 0 'four ranks of one launcher'
nodes 2 2 "$ring" --timeout 20 -- "$w" worker
is "$status" '0 0 ' 'two nodes of two ranks'
same out.0 want 'add the same'
is "$(cat out.1)" '' 'rank 0 has the output'
like "$(cat err.1)" 'ranks 2 to 3 of 4 on [^ ]*, node 1, from --node, master 127.0.0.1:' \
	'each says what it is'
# shellcheck disable=SC2016
nodes 2 2 sh -c 'echo "$RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $ACCEL_NODE_RANK ${ACCEL_KEY_FILE##*/}" >&2'
is "$(cat err.0 err.1 | grep '^\[' | sort | tr '\n' ,)" \
	'[0] 0 4 0 2 0 key,[1] 1 4 1 2 0 key,[2] 2 4 0 2 1 key,[3] 3 4 1 2 1 key,' 'ranks are told their places'
new_port
JOB_COMPLETION_INDEX=1 "$launch" --nodes 2 --master 127.0.0.1:$port -- \
	"$ring" check --timeout 20 2>err.1 &
other=$!
expect_status 0 'the pod of an indexed job' env JOB_COMPLETION_INDEX=0 \
	"$launch" --nodes 2 --master 127.0.0.1:$port -- "$ring" check --timeout 20
like "$(cat out)" '2 ranks on 2 hosts meet' 'knows its node'
s=0
wait $other || s=$?
is $s 0 'on both'

# ---- something dies

nodes 2 2 "$ring" --timeout 20 -- "$w" worker rank=3 at=2 how=kill
is "$status" '76 137 ' 'a worker of the other node is killed'
like "$(cat err.0)" 'accel-launch: rank 3 failed first, not one of those here' 'it is named here'
like "$(cat err.0)" 'cause: rank 3: .* killed by signal 9' 'with the cause'
like "$(cat err.0)" 'status of the others: rank 0 76, rank 1 76$' 'and what it led to'
like "$(cat err.1)" 'accel-launch: rank 3 failed first: pid [0-9]+: ' 'and there'

new_port
"$launch" --nodes 2 --node 1 --master 127.0.0.1:$port -- \
	"$ring" --timeout 20 -- "$w" worker steps=1000 sleep=20 mark=at 2>err.1 &
other=$!
run timeout 60 "$launch" --nodes 2 --node 0 --master 127.0.0.1:$port -- \
	"$ring" --timeout 20 -- "$w" worker steps=1000 sleep=20 mark=at
at_work at.0 at.1
kill -9 $other
finish
is "$got" 76 'the launcher of the other node is killed'
like "$(cat err)" 'rank 1 failed first, not one of those here' 'its rank is named'
like "$(cat err)" 'cause: .*rank 1.*' 'with a cause'
wait $other

# ---- signals

new_port
"$launch" --nodes 2 --node 1 --master 127.0.0.1:$port -- \
	"$ring" --timeout 20 -- "$w" worker steps=2000 sleep=10 mark=at 2>err.1 &
other=$!
run timeout 60 "$launch" --nodes 2 --node 0 --master 127.0.0.1:$port -- \
	"$ring" --timeout 20 -- "$w" worker steps=2000 sleep=10 mark=at
at_work at.0 at.1
kill -TERM $other $pid
finish
is "$got" 75 'TERM to all: ranks stop in order'
s=0
wait $other || s=$?
is $s 75 'on both nodes'

# ---- the command line

# refused STATUS PATTERN OPTIONS...: one line
refused() {
	st=$1
	pattern=$2
	shift 2
	expect_status "$st" "refused: $*" "$launch" "$@" -- true
	like "$(cat err)" "$pattern" 'says why'
	one_line err 'in one line'
}
refused 64 '^accel-launch: --node needs --nodes' --node 1
refused 64 '--nodes 2: which of them is this' --nodes 2 --master h:1
refused 64 '--node 2: the 2 nodes are 0 to 1' --nodes 2 --node 2 --master h:1
refused 64 '--nodes 2: --master HOST:PORT says' --nodes 2 --node 1
refused 64 '--master h: not HOST:PORT' --nodes 2 --node 1 --master h
refused 64 '--master h:99999: not HOST:PORT' --nodes 2 --node 1 --master h:99999
refused 64 '--master: one host alone' --master h:1
refused 64 '--nodes and --rank-from: only one' --nodes 2 --node 1 --master h:1 --rank-from slurm
refused 64 'more than 65536' --nodes 65536 --node 1 --master h:1 -n 2
chmod 644 key
refused 77 'key' --nodes 2 --node 1 --master h:1 --key-file key
JOB_COMPLETION_INDEX=2
export JOB_COMPLETION_INDEX
refused 78 'JOB_COMPLETION_INDEX=2, not a number below --nodes 2' --nodes 2 --master h:1
done_testing
