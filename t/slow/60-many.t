#!/bin/sh
# Twenty runs of two ranks on one host at once, as one user.
TOP=${TOP:-$(dirname "$0")/../..}
. "$TOP/t/lib/tap.sh"

i=0
while [ $i -lt 20 ]; do
	{
		"$BIN/accel-launch" -n 2 -- "$BIN/allreduce-ring" -- \
			"$BIN/t/61-comm.t" worker steps=20 numel=20000 >"out$i" 2>"err$i"
		echo $? >"status$i"
	} &
	i=$((i + 1))
done
wait
is "$(cat status* | sort | uniq -c | tr -s ' ')" ' 20 0' 'all end well'
is "$(cat out* | sort -u | wc -l | tr -d ' ')" 1 'with the same digest'
done_testing
