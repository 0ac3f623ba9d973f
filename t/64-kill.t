#!/bin/sh
# kill -9 of each kind of process of a run of four ranks: all ends within 10 s,
# the status is not 0, the message names the rank, nothing is left.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"

launch=$BIN/accel-launch
# Names of our own: other tests run the same programs at the same time.
ln -s "$BIN/allreduce-ring" "$BIN/t/61-comm.t" .
ring=$PWD/allreduce-ring
w=$PWD/61-comm.t

for kind in worker ring0 ring2 shell feeder; do
	run "$launch" -n 4 -- sh -c "while sleep .0798767; do echo; done | '$ring' -- '$w' worker steps=1000 sleep=20 mark=at"
	wait_for 4 "$w worker*"
	wait_for 4 "$ring -- *"
	r=2
	case $kind in
	worker) v=$(of_rank 2 "$w worker*") ;;
	ring0) v=$(of_rank 0 "$ring -- *") r=0 ;;
	ring2) v=$(of_rank 2 "$ring -- *") ;;
	# The shell is older than its part of the pipeline.
	shell) v=$(of_rank 2 'sh -c while*' | head -n 1) ;;
	feeder) v=$(of_rank 2 'sh -c while*' | tail -n 1) ;;
	esac
	kill -9 "$v"
	if [ "$kind" = feeder ]; then
		# Nobody reads from this feeder; the run goes on.
		at_work at.0 at.1 at.2 at.3
		kill -TERM "$pid"
		finish
		is "$got" 75 "kill -9 of a $kind that is not needed"
	else
		start=$(date +%s)
		finish
		took=$(($(date +%s) - start))
		[ "$got" -ne 0 ] && [ "$took" -le 10 ]
		ok $? "kill -9 of a $kind ends the run: status $got"
		like "$(cat err)" "rank $r" 'the message names the rank'
		like "$(grep -v '^\[' err | head -n 1)" \
			"^accel-launch: rank $r failed first" 'first of all'
	fi
	none_left "*$PWD*" 'and nothing is left'
	none_left '*798767*' 'of the feeders either'
done
run "$launch" -n 4 -- sh -c "sleep 98768 | '$ring' -- '$w' worker steps=1000 sleep=20 mark=at"
wait_for 4 "$w worker*"
kill -9 "$pid"
finish
none_left "$w worker*" 'kill -9 of the launcher ends the workers'
for p in $(left 'sleep 98768*'); do
	kill "$p"
done

done_testing
