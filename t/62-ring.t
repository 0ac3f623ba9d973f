#!/bin/sh
# allreduce-ring: sums over processes, and what happens when something dies.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"

ring=$BIN/allreduce-ring
w=$BIN/t/61-comm.t

# pair OPTIONS -- WORKER WORDS: two ranks by hand; statuses into s0 and s1
pair() {
	opts=
	while [ "$1" != -- ]; do
		opts="$opts $1"
		shift
	done
	shift
	# shellcheck disable=SC2086
	"$ring" --timeout 20 --rank 1 --world 2 --rdzv sock $opts -- "$w" worker "$@" \
		>out1 2>err1 &
	s0=0
	# shellcheck disable=SC2086
	"$ring" --timeout 20 --rank 0 --world 2 --rdzv sock $opts -- "$w" worker "$@" \
		>out0 2>err0 || s0=$?
	s1=0
	wait $! || s1=$?
}

# ---- all is well

pair --
is "$s0 $s1" '0 0' 'two ranks add'
digest=$(cat out0)
like "$digest" '^2 ranks, digest' 'and rank 0 says so'
[ ! -e sock ]
ok $? 'the socket is gone'
COMM_TIME=1
MILLRACE_PIPE_BYTES=4096
export COMM_TIME MILLRACE_PIPE_BYTES
pair -- steps=3 buckets=40 numel=20001
is "$s0 $s1" '0 0' 'many large buckets'
like "$(cat err0)" 'through memory$' 'in shared memory'
many=$(cat out0)
pair -- steps=3 buckets=40 numel=20000
some=$(cat out0)
pair -- steps=3 buckets=40 numel=20000 lie=1
is "$s0 $s1 $(cat out0)" "0 0 $some" 'buckets that lie in the memory'
like "$(cat err0)" 'through nothing$' 'are not copied'
pair -- steps=3 buckets=40 numel=20000 slices=1
slices=$(cat out0)
pair -- steps=3 buckets=40 numel=20000 slices=1 lie=1
is "$s0 $s1 $(cat out0)" "0 0 $slices" 'slices that lie there'
MILLRACE_SLOTS=off
export MILLRACE_SLOTS
pair -- steps=3
is "$s0 $s1 $(cat out0)" "0 0 $digest" 'the same through pipes of 4 KiB'
pair -- steps=3 buckets=40 numel=20001
is "$s0 $s1 $(cat out0)" "0 0 $many" 'many large buckets through pipes of 4 KiB'
like "$(cat err0)" 'through pipes$' 'and not in memory'
unset MILLRACE_PIPE_BYTES MILLRACE_SLOTS
for eight in '8>&-' '8</dev/null' "8<$w"; do
	plain=$w
	# shellcheck disable=SC2016
	printf '#!/bin/sh\nexec %s "$@" %s\n' "$plain" "$eight" >closed
	chmod +x closed
	w=./closed
	pair -- steps=3 buckets=40 numel=20001
	w=$plain
	is "$s0 $s1 $(cat out0)" "0 0 $many" "the same with $eight"
	like "$(cat err0)" 'through pipes$' 'by the pipe, then'
done
unset COMM_TIME
pair -- exit=75
is "$s0 $s1" '75 75' 'a status of all workers is that of the rings'
expect_status 0 'one rank needs no place to meet' "$ring" -- "$w" worker
like "$(cat out)" '^1 ranks' 'and is alone'
expect_status 0 'a program that does not speak' "$ring" -- true
expect_status 75 'or stops early before it speaks' "$ring" -- sh -c 'exit 75'
expect_status 3 'a failure is the status of the ring' "$ring" -- sh -c 'exit 3'
# shellcheck disable=SC2016
expect_status 0 'the worker is told its place' "$ring" --rank 0 --world 1 -- \
	sh -c 'echo "$RANK $LOCAL_RANK $WORLD_SIZE $ACCEL_RING"'
is "$(cat out)" '0 0 1 6,7' 'in the environment'
echo data | "$ring" -- cat >out 2>err
is "$(cat out)" data 'stdin and stdout pass through'

# The worker's own bench, as ranks.
plain=$w
printf '#!/bin/sh\nexec "%s" bench -c "%s" -e ref -t 1 -n 2 --warm 0 %s\n' \
	"$BIN/accel-worker" "$TOP/configs/resnet18-demo.yaml" \
	'MODEL.WIDTH 8 INPUT.SIZE 32 SOLVER.BATCH 2' >bench
chmod +x bench
w=./bench
pair --
w=$plain
is "$s0 $s1" '0 0' 'two ranks of accel-worker bench'
like "$(cat out0)" '"ranks":2,.*"wait_ms":[0-9]' 'rank 0 says how long they wait'
is "$(cat out1)" '' 'and rank 1 nothing'

# ---- something dies

for how in kill:76:137 exit3:76:3 exit65:65:65 abort:65:65 close:76:76; do
	pair -- rank=1 at=2 "how=${how%%:*}"
	want=${how#*:}
	is "$s0:$s1" "$want" "rank 1 ends by ${how%%:*}"
	like "$(cat err0)" 'allreduce-ring\[0\]: rank 1: 61-comm.t \(pid [0-9]+\).* last seen at step 1' \
		'rank 0 names rank, program, pid and step'
done
pair -- rank=0 at=2 how=kill
is "$s0 $s1" '137 76' 'rank 0 ends by kill'
like "$(cat err1)" 'rank 0: .* killed by signal 9 \(Killed\)' 'rank 1 says how'
pair -- rank=1 at=1 how=abort
like "$(cat err0)" 'worker\[0\]: rank 1: .*: record 153: bad pixel' \
	"the worker of rank 0 gives rank 1's reason"
pair --timeout 4 --tell 1 -- rank=1 at=1 how=stop
is "$s0 $s1" '76 76' 'a rank that stands still is lost after the timeout'
like "$(cat err0)" 'rank 1: no progress for [123] s while rank 0 waits for the sum of bucket 0' \
	'and is named before'

# ---- what does not fit

for how in layout samples size step; do
	pair -- rank=1 "how=$how"
	is "$s0 $s1" '78 78' "another $how is refused"
	like "$(cat err0)" 'ranks 0 and 1 disagree' 'naming both ranks'
done
"$ring" --timeout 20 --rank 1 --world 3 --rdzv sock -- true 2>err1 &
expect_status 78 'another world is refused' \
	"$ring" --timeout 20 --rank 0 --world 2 --rdzv sock -- true
s1=0
wait $! || s1=$?
is "$s1" 78 'on both sides'
like "$(cat err)" 'rank 1 \(pid [0-9]+\) is one of 3, rank 0 \(pid [0-9]+\) one of 2' \
	'both are named'
"$ring" --timeout 20 --rank 1 --world 3 --rdzv sock -- true 2>err1 &
a=$!
"$ring" --timeout 20 --rank 1 --world 3 --rdzv sock -- true 2>err2 &
b=$!
expect_status 78 'a rank that is there twice is refused' \
	"$ring" --timeout 20 --rank 0 --world 3 --rdzv sock -- true
like "$(cat err)" 'rank 1 is there twice: pid [0-9]+ and pid [0-9]+' 'by pids'
wait $a || s1=$?
wait $b || s1=$s1$?
is "$s1" 7878 'and both of them end'
"$ring" --timeout 1 --rank 1 --world 2 --rdzv none -- true 2>err1 &
a=$!
expect_status 76 'rank 0 waits for the others until the deadline' \
	"$ring" --timeout 1 --rank 0 --world 3 --rdzv sock -- true
like "$(cat err)" 'rank 1, 2: not there within 1 s' 'and names them'
s1=0
wait $a || s1=$?
is "$s1" 76 'the others wait for rank 0'
like "$(cat err1)" 'rank 0: not there within 1 s' 'and name it'
ACCEL_RUN_ID=two "$ring" --timeout 20 --rank 0 --world 2 --rdzv sock -- true \
	2>err0 &
a=$!
expect_status 78 'a stranger of another run is turned away' env \
	ACCEL_RUN_ID=one "$ring" --timeout 20 --rank 1 --world 2 --rdzv sock -- true
like "$(cat err)" 'belongs to run "one", this is "two"' 'and is told why'
expect_status 0 'the run goes on' env \
	ACCEL_RUN_ID=two "$ring" --timeout 20 --rank 1 --world 2 --rdzv sock -- true
wait $a
ok $? 'on both ranks'

# ---- signals

"$ring" -- "$w" worker steps=1000 sleep=20 mark=at >out 2>err &
a=$!
at_work at.0
kill -TERM $a
s1=0
wait $a || s1=$?
is "$s1" 75 'TERM reaches the worker once, which stops in order'

# ---- the command line

expect_status 64 'NCCL is no engine: it adds inside the workers' \
	"$ring" --engine nccl -- true
like "$(cat err)" 'engine.*nccl.*auto.*shm.*tcp.*mpi' 'which are there is said'
expect_status 69 'a program that is not there is an error' "$ring" -- ./none
one_line err 'in one line'
expect_status 64 'no program is an error' "$ring"
expect_status 64 'rank without world' "$ring" --rank 1 -- true
expect_status 64 'rank beyond world' "$ring" --rank 2 --world 2 -- true
expect_status 64 'no place to meet' "$ring" --rank 0 --world 2 -- true
expect_status 78 'half a family of variables' env RANK=1 "$ring" -- true
expect_status 0 'one family is taken whole' env ACCEL_RANK=0 ACCEL_RUN_ID=x \
	ACCEL_WORLD_SIZE=1 RANK=5 WORLD_SIZE=9 "$ring" -- true
expect_status 78 'a rank that is no number' \
	env RANK=x WORLD_SIZE=2 "$ring" -- true
expect_status 69 'ranks on several hosts need another engine' env RANK=0 \
	WORLD_SIZE=8 LOCAL_RANK=0 LOCAL_WORLD_SIZE=4 "$ring" --engine shm \
	--rdzv sock --master 127.0.0.1:1 -- true
expect_status 64 'and a place to meet' env RANK=0 WORLD_SIZE=8 LOCAL_RANK=0 \
	LOCAL_WORLD_SIZE=1 "$ring" -- true
like "$(cat err)" '8 ranks, 1 of them on this host: --master' 'is asked for'
expect_status 0 'bench' "$ring" bench --bytes 64K --iters 3 -n 3
like "$(cat out)" '^\{"engine":"shm","ranks":3,"hosts":1,"bytes":65536,"iters":3,"ms":[0-9.]+,"algbw":[0-9.]+,"busbw":[0-9.]+\}$' \
	'prints one line of JSON'
expect_status 0 'check' "$ring" check -n 3
done_testing
