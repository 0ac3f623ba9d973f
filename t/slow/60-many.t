#!/bin/sh
# Twenty runs of two ranks on one host at once, as one user.
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$TOP/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"

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

# ---- and trained

make_data
i=0
while [ $i -lt 20 ]; do
	{
		"$BIN/accel-launch" -n 2 -- sh -c "
			'$BIN/imgshard' feed shards/train.json -c small.yaml --train --threads 1 --from run$i/ckpt |
			'$BIN/allreduce-ring' -- '$BIN/accel-worker' train -c small.yaml -e $ENGINE -t 1 -o run$i" >"out$i" 2>"err$i"
		echo $? >"trained$i"
	} &
	i=$((i + 1))
done
wait
is "$(cat trained* | sort | uniq -c | tr -s ' ')" ' 20 0' 'all end well'
different=
while [ $i -gt 1 ]; do
	i=$((i - 1))
	"$BIN/ckpt-merge" diff -q run0 run$i >diff.out 2>&1 || different="$different $i"
done
is "$different" '' 'with the same bits'
done_testing
