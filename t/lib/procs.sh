# procs.sh - runs of several processes, their victims and what they leave
# behind. For test scripts; source it after tap.sh.
#
# Test scripts run side by side, so a process is found by words of its command
# line that only this script uses: a path under its temporary directory.

# left PATTERN: processes whose command line is like that shell pattern
left() {
	for p in /proc/[0-9]*; do
		args=$({ tr '\0' ' ' <"$p/cmdline"; } 2>/dev/null)
		# shellcheck disable=SC2254
		case $args in
		$1) echo "${p#/proc/}" ;;
		esac
	done | sort -n
}

# await COMMAND...: until it succeeds, 60 s at most: what comes after it tells
# whether it did
await() {
	tries=600
	while ! "$@" 2>/dev/null && [ $tries -gt 0 ]; do
		tries=$((tries - 1))
		sleep 0.1
	done
}

# are N PATTERN: there are so many of them
are() {
	[ "$(left "$2" | wc -l)" -eq "$1" ]
}

# wait_for N PATTERN: until there are N of them
wait_for() {
	await are "$1" "$2"
}

# none_left PATTERN NAME: soon
none_left() {
	wait_for 0 "$1"
	is "$(left "$1")" '' "$2"
}

# at_work FILE...: until each is there; 61-comm.t worker mark=FILE makes FILE.RANK
# after its first step
at_work() {
	for mark; do
		await test -e "$mark"
	done
	rm -f "$@"
}

# of_rank RANK PATTERN: pids of that rank whose command line is like that
of_rank() {
	for p in $(left "$2"); do
		if { tr '\0' '\n' <"/proc/$p/environ"; } 2>/dev/null |
			grep -qx "RANK=$1"; then
			echo "$p"
		fi
	done
}

# run COMMAND...: in the background, its pid in $pid, its stderr in ./err
run() {
	"$@" >out 2>err &
	pid=$!
}

# finish: the status of that run in $got
# shellcheck disable=SC2034
finish() {
	got=0
	wait "$pid" || got=$?
}

# finish_all: the statuses of the processes $pids in $status, each with a space
# behind
# shellcheck disable=SC2034,SC2154
finish_all() {
	status=
	for p in $pids; do
		got=0
		wait "$p" || got=$?
		status="$status$got "
	done
}
