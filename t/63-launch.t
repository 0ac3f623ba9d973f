#!/bin/sh
# accel-launch: environment, output, first failure, signals, nothing left.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"

launch=$BIN/accel-launch
ring=$BIN/allreduce-ring
w=$BIN/t/61-comm.t

# ---- environment and output

# shellcheck disable=SC2016
expect_status 0 'ranks are told their places' "$launch" -n 2 -- sh -c \
	'echo "$RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE $ACCEL_RANK $ACCEL_WORLD_SIZE $ACCEL_ATTEMPT"'
is "$(cat out)" '0 0 2 2 0 2 0' 'stdout of rank 0 passes'
is "$(cat err)" '[1] 1 1 2 2 1 2 0' 'that of others goes to stderr'
# shellcheck disable=SC2016
expect_status 0 'threads are shared out' env OMP_NUM_THREADS= "$launch" -n 64 -v -- sh -c 'echo "$OMP_NUM_THREADS" >&2'
is "$(grep -c '^\[[0-9]*\] 1$' err)" 64 'one for each at least'
like "$(cat err)" 'OMP_NUM_THREADS=1 for each of 64 ranks' 'and -v says so'
# shellcheck disable=SC2016
OMP_NUM_THREADS=7 "$launch" -n 1 -- sh -c 'echo "$OMP_NUM_THREADS"' >out
is "$(cat out)" 7 'a number that is set is kept'
for n in 5 6 8 16; do # with fewer not even the libraries are found
	status=0
	# shellcheck disable=SC2039,SC3045
	(ulimit -n $n && "$launch" -n 9 -- true) >out 2>err || status=$?
	if [ $status -eq 127 ]; then
		ok 0 "$n descriptors: nothing starts"
	else
		is "$status $(sed 's/rank [0-9]*: pipe/PIPE/; s/^accel-launch: .*: Too/accel-launch: Too/' err)" \
			'71 accel-launch: Too many open files' "$n descriptors"
	fi
done
mkdir full
ln -s /dev/full full/rank-0.log
"$launch" -n 1 --logdir full -- sh -c 'echo a >&2; echo b >&2' 2>err
is "$? $(cat err)" "0 [0] a
accel-launch: full/rank-0.log: write: No space left on device: the log ends here
[0] b" 'a log on a full disk ends, and the run does not'
"$launch" -n 2 --logdir log -- sh -c 'printf "a\nb" >&2' 2>err
is "$(sort err | tr '\n' ,)" '[0] a,[0] b,[1] a,[1] b,' 'lines get the rank'
is "$(cat log/rank-0.log)$(cat log/rank-1.log)" 'a
ba
b' 'logs are as they were'
echo in | "$launch" -n 2 -- cat >out 2>err
is "$(cat out)$(cat err)" in 'rank 0 has stdin, the others nothing'

# ---- the first failure

# shellcheck disable=SC2016
expect_status 3 'the first failure is the status' "$launch" -n 3 -- sh -c \
	'if [ $RANK = 1 ]; then i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); done; sleep .2; exit 3; fi; exec sleep 98761'
like "$(grep -v '^\[' err | head -n 1)" \
	'^accel-launch: rank 1 failed first: pid [0-9]+: exited with status 3$' \
	'and is named first'
like "$(cat err)" 'status of the others: rank 0 143, rank 2 143' 'then others'
is "$(sed -n '/last lines/,$p' err | grep -c '^\[1\] line')" 20 \
	'with its last 20 lines'
none_left '*sleep 98761*' 'nothing is left'
# shellcheck disable=SC2016
expect_status 137 'a signal is 128 + n' "$launch" -n 2 -- sh -c \
	'[ $RANK = 0 ] || kill -9 $$; exec sleep 98762'
like "$(cat err)" 'rank 1 failed first: pid [0-9]+: killed by signal 9 \(Killed\): out of memory\? see dmesg' \
	'with a hint'
expect_status 69 'a command that is not there' "$launch" -n 2 -- ./none
like "$(cat err)" 'none: No such file' 'is named'
# shellcheck disable=SC2016
expect_status 4 'a rank that ignores TERM is killed' "$launch" -n 2 --grace 1 \
	-- sh -c '[ $RANK = 0 ] || { sleep .2; exit 4; }; trap "" TERM; sleep 98763; sleep 98763'
none_left '*sleep 98763*' 'and what it started'
expect_status 0 'a process in the background' "$launch" -- \
	sh -c 'setsid sleep 98764 </dev/null >/dev/null 2>&1 & exit 0'
none_left '*sleep 98764*' 'ends with the run'
expect_status 75 'all say 75' "$launch" -n 3 -- sh -c 'exit 75'
unlike "$(cat err)" 'failed' 'which is no failure'
# shellcheck disable=SC2016
expect_status 65 'a real failure beside 75' "$launch" -n 2 -- sh -c \
	'[ $RANK = 1 ] || exit 75; sleep .2; exit 65'

# ---- restarts

# shellcheck disable=SC2016
expect_status 0 'restart after 76' "$launch" -n 2 --retries 3 -- sh -c \
	'[ $ACCEL_ATTEMPT = 1 ] || exit 76; echo $ACCEL_ATTEMPT'
is "$(cat out)" 1 'once was enough'
like "$(cat err)" 'restart 1 of 3 in 1 s' 'and is announced'
expect_status 64 'no restart after 64' "$launch" --retries 3 -- sh -c 'exit 64'
unlike "$(cat err)" 'restart' 'at all'
expect_status 137 'restarts end' "$launch" --retries 1 -- sh -c 'kill -9 $$'
is "$(grep -c 'restart' err)" 1 'after the number given'

# ---- signals

run "$launch" -n 2 --retries 5 -- "$ring" -- "$w" worker steps=2000 sleep=10 mark=at
at_work at.0 at.1
kill -TERM $pid
finish
is $got 75 'TERM: ranks under a ring stop in order, no restart'
run "$launch" -n 2 -- sh -c "sleep 98765 | '$ring' -- '$w' worker steps=2000 sleep=10 mark=at"
at_work at.0 at.1
kill -USR1 $pid
finish
is $got 75 'a pipeline lives until its worker has ended'
none_left '*sleep 98765*' 'and is gone then'
# shellcheck disable=SC2016
run "$launch" -n 2 -- sh -c 'trap "sleep .3; exit 130" INT; >at.$RANK; while :; do sleep .1; done'
at_work at.0 at.1
kill -INT $pid
finish
is $got 130 'INT: what the ranks say'
# shellcheck disable=SC2016
run "$launch" -n 2 -- sh -c 'trap "" TERM; trap ">int.$RANK" INT; >at.$RANK; while :; do sleep .0798766; done'
at_work at.0 at.1
kill -INT $pid
at_work int.0 int.1
kill -INT $pid
finish
is $got 130 'INT twice'
none_left '*sleep .0798766*' 'kills at once'

# ---- the command line

expect_status 64 'no command is an error' "$launch" -n 2
expect_status 64 'no ranks are an error' "$launch" -n 0 -- true
done_testing
