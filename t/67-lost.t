#!/bin/sh
# allreduce-ring over several hosts, as in 65-tcp.t: what happens when something
# dies, stands still or does not fit.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
. "$TOP/t/lib/ports.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/hosts.sh"


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
new_port
timeout 60 "$ring" --rank 1 --world 2 --master 127.0.0.1:$port -- "$w" worker sleep=50 steps=1000 mark=at \
	>out.1 2>err.1 &
other=$!
timeout 60 "$ring" --rank 0 --world 2 --master 127.0.0.1:$port -- "$w" worker sleep=50 steps=1000 mark=at \
	>out.0 2>err.0 &
first=$!
at_work at.0 at.1
pkill -9 -P $other allreduce-ring
s=0
wait $first || s=$?
is "$s" 76 'a ring of another host is killed'
like "$(cat err.0)" 'host .* at 127.0.0.1 \(rank 1\): lost: connection (closed|lost).*, last seen at step' \
	'and the host is named'
wait $other

# The ring of another host stands still.
new_port
"$ring" --dead-after 2 --rank 1 --world 2 --master 127.0.0.1:$port -- "$w" worker sleep=50 steps=1000 mark=at \
	>out.1 2>err.1 &
other=$!
timeout 60 "$ring" --dead-after 2 --rank 0 --world 2 --master 127.0.0.1:$port -- "$w" worker sleep=50 steps=1000 mark=at \
	>out.0 2>err.0 &
first=$!
at_work at.0 at.1
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
