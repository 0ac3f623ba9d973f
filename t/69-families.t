#!/bin/sh
# Ranks by the variables of other launchers: each family as its launcher sets it,
# the order, what is refused. Real launchers where they are there.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"

launch=$BIN/accel-launch
ring=$BIN/allreduce-ring
# shellcheck disable=SC2016
say='echo "$RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE ${ACCEL_NODE_RANK:--} ${ACCEL_MASTER:--}" >&2'
bare="env -i PATH=$PATH"

# says NAME WANT VARIABLES -- OPTIONS: what the first rank here is told
says() {
	name=$1
	want=$2
	shift 2
	vars=
	while [ "$1" != -- ]; do
		vars="$vars $1"
		shift
	done
	shift
	# shellcheck disable=SC2086
	$bare $vars "$launch" "$@" -- sh -c "$say" >out 2>err
	is "$(sed -n 's/^\[[0-9]*\] //p' err | sort -n | head -n 1)" "$want" "$name" ||
		tap_comment "$(cat err)"
}
# refused STATUS PATTERN VARIABLES -- OPTIONS
refused() {
	st=$1
	pattern=$2
	shift 2
	vars=
	while [ "$1" != -- ]; do
		vars="$vars $1"
		shift
	done
	shift
	# shellcheck disable=SC2086
	expect_status "$st" "refused:$vars $*" $bare $vars "$launch" "$@" -- true
	like "$(cat err)" "$pattern" 'names the variables'
	one_line err 'in one line'
}

own='ACCEL_RANK=1 ACCEL_WORLD_SIZE=2 ACCEL_LOCAL_RANK=1 ACCEL_LOCAL_WORLD_SIZE=2 ACCEL_RUN_ID=x'
torch='RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 LOCAL_WORLD_SIZE=4 GROUP_RANK=1 MASTER_ADDR=h0 MASTER_PORT=29500'
ompi='OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=3 OMPI_COMM_WORLD_LOCAL_SIZE=4 OMPI_COMM_WORLD_NODE_RANK=3 PMIX_RANK=3 PMIX_NAMESPACE=prterun-h-1@1'
pmi='PMI_RANK=2 PMI_SIZE=4 MPI_LOCALRANKID=0 MPI_LOCALNRANKS=2'
mv2='MV2_COMM_WORLD_RANK=2 MV2_COMM_WORLD_SIZE=4 MV2_COMM_WORLD_LOCAL_RANK=0 MV2_COMM_WORLD_LOCAL_SIZE=2'
job='SLURM_JOB_ID=4711 SLURM_NTASKS=7'
step='SLURM_PROCID=5 SLURM_STEP_NUM_TASKS=11 SLURM_LOCALID=1 SLURM_NODEID=1 SLURM_STEP_ID=0'
nodes='SLURM_STEP_TASKS_PER_NODE=4(x2),3 SLURM_STEP_NODELIST=n[02,05-06]x'

# shellcheck disable=SC2086
{
says 'alone' '0 1 0 1 - -' --
says 'own' '1 2 1 2 - -' $own --
says 'own, two ranks each' '2 4 2 4 - -' $own -- -n 2
says 'torchrun' '5 8 1 4 1 h0:29500' $torch --
says 'its own port is left to it' '5 8 1 4 1 h0:29501' $torch TORCHELASTIC_USE_AGENT_STORE=True --
says 'a master of our own' '5 8 1 4 1 h9:1' $torch -- --master h9:1
says 'RANK and WORLD_SIZE, one host' '1 2 1 2 - -' RANK=1 WORLD_SIZE=2 ACCEL_RUN_ID=x --
says 'Open MPI' '3 4 3 4 - -' $ompi --
says 'PMI' '2 4 0 2 - h:1' $pmi ACCEL_RUN_ID=x -- --master h:1
says 'MVAPICH2' '2 4 0 2 - h:1' $mv2 ACCEL_RUN_ID=x -- --master h:1
says 'Slurm' '5 11 1 4 1 n02x:27371' $job $step $nodes --
says 'Slurm, two ranks each' '10 22 2 8 1 n02x:27371' $job $step $nodes -- -n 2
says 'Slurm, one task' '0 1 0 1 0 n1:27371' $job SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=1 SLURM_LOCALID=0 \
	SLURM_NODEID=0 SLURM_STEP_ID=0 SLURM_STEP_TASKS_PER_NODE=1 SLURM_STEP_NODELIST=n1 --
says 'a batch shell with -n' '0 2 0 2 - -' $job SLURM_PROCID=0 -- -n 2
says 'the inner launcher counts' '1 2 1 2 - -' $own $torch $ompi --
says 'torchrun inside Slurm' '5 8 1 4 1 h0:29500' $torch $job $step $nodes TORCHELASTIC_RUN_ID=none --
says 'the one that is named' '5 11 1 4 1 n02x:27371' $torch $job $step $nodes -- --rank-from slurm
says 'none' '0 2 0 2 - -' $torch -- --rank-from none -n 2
says 'nodes outrank them' '1 2 0 1 1 h:1' $torch -- --nodes 2 --node 1 --master h:1

refused 78 'RANK is set and WORLD_SIZE is not' RANK=1 --
refused 78 'WORLD_SIZE is set and RANK is not' WORLD_SIZE=1 --
refused 78 'LOCAL_RANK is set and LOCAL_WORLD_SIZE is not' RANK=1 WORLD_SIZE=2 LOCAL_RANK=1 --
refused 78 'RANK=2 with WORLD_SIZE=2' RANK=2 WORLD_SIZE=2 --
refused 78 'RANK="x": not a number' RANK=x WORLD_SIZE=2 --
refused 78 'RANK=1 and WORLD_SIZE=4, but LOCAL_RANK=3 and LOCAL_WORLD_SIZE=4' RANK=1 WORLD_SIZE=4 \
	LOCAL_RANK=3 LOCAL_WORLD_SIZE=4 --
refused 78 'OMPI_COMM_WORLD_LOCAL_SIZE: which' OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 --
refused 78 'MPI_LOCALRANKID and MPI_LOCALNRANKS: which' PMI_RANK=1 PMI_SIZE=2 --
refused 78 'PMIX_RANK is set, but nothing' PMIX_RANK=1 --
refused 78 'SLURM_NTASKS=7 in the shell of job 4711' $job SLURM_PROCID=0 --
refused 78 'SLURM_NTASKS=7 in the shell of job 4711' $job SLURM_PROCID=0 SLURM_STEP_ID=4294967291 --
refused 78 'SLURM_STEP_TASKS_PER_NODE="4" does not say .* SLURM_NODEID=1' $job $step \
	SLURM_STEP_TASKS_PER_NODE=4 --
refused 78 'SLURM_STEP_TASKS_PER_NODE' $job $step --
refused 78 'WORLD_SIZE=1, but OMPI_COMM_WORLD_SIZE=4: one is stale.*--rank-from torchrun\|openmpi' \
	RANK=0 WORLD_SIZE=1 $ompi --
refused 78 'are not those of a process of slurm' $torch -- --rank-from slurm
refused 64 'pmi: 2 of 4 tasks are on this host: --master' $pmi --
refused 64 '4 ranks need a place to meet.*ACCEL_RUN_ID' RANK=1 WORLD_SIZE=4 --
}

# The ring by itself understands the same.
i=0
pids=
while [ $i -lt 3 ]; do
	$bare OMPI_COMM_WORLD_RANK=$i OMPI_COMM_WORLD_SIZE=3 OMPI_COMM_WORLD_LOCAL_RANK=$i \
		OMPI_COMM_WORLD_LOCAL_SIZE=3 PMIX_NAMESPACE="$tap_dir" "$ring" check --timeout 20 >out.$i 2>err.$i &
	pids="$pids $!"
	i=$((i + 1))
done
finish_all
is "$status$(cat out.0)" '0 0 0 shm: 3 ranks on this host add correctly' 'rings of one job of mpirun meet'
# shellcheck disable=SC2086
expect_status 78 'the ring in a batch shell' $bare $job SLURM_PROCID=0 "$ring" -- true

# ---- real ones

"$launch" -n 4 -- "$ring" -- "$BIN/t/61-comm.t" worker >want 2>/dev/null
mpirun=$(command -v mpirun)
# Some are there and cannot start anything (no network at all).
mpi='--allow-run-as-root --oversubscribe'
# shellcheck disable=SC2086
if [ -n "$mpirun" ] && timeout 20 "$mpirun" $mpi -n 1 true >/dev/null 2>&1; then
	timeout 60 "$mpirun" $mpi -n 4 "$launch" -- "$ring" --timeout 20 -- "$BIN/t/61-comm.t" worker >out 2>err
	is "$?" 0 'mpirun -n 4 accel-launch' || tap_comment "$(tail -n 5 err)"
	same out want 'the same sums'
	timeout 60 "$mpirun" $mpi -n 2 "$launch" -n 2 -- "$ring" --timeout 20 -- "$BIN/t/61-comm.t" worker >out 2>err
	is "$?" 0 'mpirun -n 2 accel-launch -n 2'
	same out want 'the same sums'
	timeout 60 "$mpirun" $mpi -n 4 "$ring" --timeout 20 -- "$BIN/t/61-comm.t" worker >out 2>err
	is "$?" 0 'mpirun -n 4 allreduce-ring'
	same out want 'the same sums'
else
	skip 6 'mpirun is not there or does not start'
fi
done_testing
