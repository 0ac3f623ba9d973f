#!/bin/sh
# kill -9 of each kind of process of a run of four ranks: all ends within 10 s,
# the status is not 0, the message names the rank, nothing is left.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"

launch=$BIN/accel-launch
ring=$BIN/allreduce-ring
w=$BIN/t/61-comm.t

# left PATTERN: processes whose command line is like that
left() {
	for p in /proc/[0-9]*; do
		args=$({ tr '\0' ' ' <"$p/cmdline"; } 2>/dev/null)
		# shellcheck disable=SC2254
		case $args in
		$1) echo "${p#/proc/}" ;;
		esac
	done | sort -n
}
# none_left PATTERN NAME: within 3 s
none_left() {
	tries=15
	while pids=$(left "$1") && [ -n "$pids" ] && [ $tries -gt 0 ]; do
		tries=$((tries - 1))
		sleep 0.2
	done
	is "$pids" '' "$2"
}

# run WORDS: a long run of two ranks, its pid in $pid
run() {
	"$launch" "$@" >out 2>err &
	pid=$!
	sleep 0.5
}
finish() {
	got=0
	wait $pid || got=$?
}
# victim PATTERN RANK: pids of that rank whose command line is like that
victim() {
	for p in $(left "$1"); do
		if { tr '\0' '\n' <"/proc/$p/environ"; } 2>/dev/null |
			grep -qx "RANK=$2"; then
			echo "$p"
		fi
	done
}
for kind in worker ring0 ring2 shell feeder; do
	run -n 4 -- sh -c "while sleep .0798767; do echo; done | '$ring' -- '$w' worker steps=1000 sleep=20"
	i=0 # on a busy machine the workers take a while to be there
	while [ "$(left "$w worker*" | wc -l)" -lt 4 ] && [ $i -lt 100 ]; do
		sleep 0.1
		i=$((i + 1))
	done
	r=2
	case $kind in
	worker) v=$(victim "$w worker*" 2) ;;
	ring0) v=$(victim "$ring -- *" 0) r=0 ;;
	ring2) v=$(victim "$ring -- *" 2) ;;
	shell) v=$(victim 'sh -c while*' 2 | head -n 1) ;;
	feeder) v=$(victim 'sh -c while*' 2 | tail -n 1) ;;
	esac
	kill -9 "$v"
	if [ "$kind" = feeder ]; then
		# Nobody reads from this feeder; the run goes on.
		sleep 0.3
		kill -TERM $pid
		finish
		is $got 75 "kill -9 of a $kind that is not needed"
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
	none_left '*798767*' 'and nothing is left'
done
run -n 4 -- sh -c "sleep 98768 | '$ring' -- '$w' worker steps=1000 sleep=20"
kill -9 $pid
finish
none_left '*61-comm.t worker*' 'kill -9 of the launcher ends the workers'
for p in $(left 'sleep 98768*'); do
	kill "$p"
done

done_testing
