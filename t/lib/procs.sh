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

# none_left PATTERN NAME: within 3 s
none_left() {
	tries=15
	while pids=$(left "$1") && [ -n "$pids" ] && [ $tries -gt 0 ]; do
		tries=$((tries - 1))
		sleep 0.2
	done
	is "$pids" '' "$2"
}

# wait_for N PATTERN: until there are N of them, 10 s at most
wait_for() {
	tries=100
	while [ "$(left "$2" | wc -l)" -ne "$1" ] && [ $tries -gt 0 ]; do
		tries=$((tries - 1))
		sleep 0.1
	done
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
finish_all() {
	status=
	for p in $pids; do
		got=0
		wait "$p" || got=$?
		status="$status$got "
	done
}
