#!/bin/sh
# The mpi engine: a real mpirun, the bits of shm, and what happens when something
# hangs or dies.
TOP=${TOP:-$(dirname "$0")/../..}
. "$TOP/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/ports.sh"
. "$TOP/t/lib/procs.sh"

ring=$BIN/allreduce-ring
w=$BIN/t/61-comm.t

expect_status 69 'no mpirun' "$ring" --engine mpi -- "$w" worker
like "$(cat err)" '(not started by Open MPI: mpirun -n 1|not built: it needs Open MPI)' 'is refused'
mkdir alone
cp "$ring" alone
expect_status 69 'no plugin' env PMIX_RANK=0 alone/allreduce-ring --engine mpi --rank 0 --world 1 -- "$w" worker
like "$(cat err)" 'mpi: not built: it needs Open MPI' 'is refused'
expect_status 78 'two ranks in one process of mpirun' env PMIX_RANK=0 OMPI_COMM_WORLD_RANK=0 \
	OMPI_COMM_WORLD_SIZE=2 "$ring" --engine mpi --rank 0 --world 1 -- "$w" worker
like "$(cat err)" 'rank 0 of 1 is process 0 of 2 of mpirun' 'are refused'

mpi='mpirun --allow-run-as-root --oversubscribe'
# Some are there and cannot start anything (no network at all).
# shellcheck disable=SC2086
if [ ! -e "$BIN/ring-mpi.so" ] || ! timeout 20 $mpi -n 1 true >/dev/null 2>&1; then
	skip 20 'mpi: not built, or mpirun does not start'
	done_testing
fi
# Names of our own: other tests run the same programs at the same time.
ln -s "$ring" allreduce-ring
ring=$PWD/allreduce-ring
# A host for each rank, or for two: only between hosts there is something to send.
cat >rank <<'X2'
#!/bin/sh
r=$OMPI_COMM_WORLD_RANK
exec "$RING" --engine mpi --rank "$r" --world "$OMPI_COMM_WORLD_SIZE" --local-rank $((r % L)) \
	--local-world "$L" --rdzv "sock$((r / L))" --master "127.0.0.1:$PORT" $OPTIONS -- "$@"
X2
chmod +x rank
# hosts L "OPTIONS" WORDS: four ranks, L on each host
hosts() {
	new_port
	L=$1 PORT=$port OPTIONS="--timeout 60 $2" RING=$ring
	export L PORT OPTIONS RING
	shift 2
	# shellcheck disable=SC2086
	run timeout 100 $mpi -n 4 ./rank "$w" worker "$@"
	[ -n "${hurt:-}" ] || finish
}
"$BIN/accel-launch" -n 4 -- "$ring" -- "$w" worker >want 2>err
is $? 0 'four ranks by shared memory'
# shellcheck disable=SC2086
timeout 100 $mpi -n 4 "$BIN/accel-launch" -- "$ring" --engine mpi -- "$w" worker >out 2>err
is $? 0 'one host' || tap_comment "$(head -n 5 err)"
same out want 'adds the same'
for l in 1 2; do
	hosts $l ''
	is "$got" 0 "hosts of $l ranks" || tap_comment "$(head -n 5 err)"
	same out want 'add the same'
done
"$BIN/accel-launch" -n 4 -- "$ring" -- "$w" worker steps=3 buckets=40 numel=20001 >want 2>err
hosts 1 '' steps=3 buckets=40 numel=20001
same out want 'many large buckets'

# ---- training: the order of the additions shows

EPOCHS=4
make_data
feed="'$BIN/imgshard' feed shards/train.json -c '$CONFIG' --train --threads 1"
work="'$BIN/accel-worker' train -c '$CONFIG' -e $ENGINE -t 1"
"$BIN/accel-launch" -n 4 -- sh -c "$feed | '$ring' -- $work -o shm" >out 2>err
is $? 0 'four ranks train by shared memory'
new_port
L=1 PORT=$port
# shellcheck disable=SC2086
timeout 100 $mpi -n 4 sh -c "$feed | ./rank $work -o mpi" >out 2>err
is $? 0 'and by mpi' || tap_comment "$(head -n 5 err)"
equal shm mpi 'mpi'

# ---- what hangs or dies

hosts 1 '' rank=2 at=2 how=kill
like "$got" '^(76|137)$' 'a worker that is killed ends all'
like "$(cat err)" 'rank 2: 61-comm.t .*killed by signal 9' 'and is named'
hosts 1 '--timeout 2 --tell 1' rank=1 at=1 how=stop
is "$got" 76 'a worker that stands still'
# Its own ring sees that it stands still, the others that nothing comes: who is first?
like "$(cat err)" 'rank 1: (no progress|.* stopped by a signal) for 2 s' 'is lost after the timeout'
hurt=yes
hosts 1 '--dead-after 2' steps=5000 sleep=11 exit=75 "mark=$PWD/at"
at_work at.0 at.1 at.2 at.3
kill -STOP "$(left "$ring --engine mpi --rank 2 *")"
finish
hurt=
is "$got" 76 'a ring that stands still, with messages under way'
like "$(cat err)" 'ranks? 2' 'is named'
hosts 1 '--wire bf16'
like "$got" '^64$' 'only f32 travels' || tap_comment "$(head -n 5 err)"
none_left "$ring *" 'nothing is left'
done_testing
