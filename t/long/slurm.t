#!/bin/sh
# A real Slurm on this machine: the commands of the manual and train.sbatch give
# the bits that accel-launch gives, also through a signal, a preemption and the
# requeue that follows.
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$TOP/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/ports.sh"
. "$TOP/t/lib/procs.sh"

[ "$(id -u)" = 0 ] || skip_all 'root: slurmd runs as root here'
slurm=
. "$TOP/t/lib/slurm.sh"
slurm_start || skip_all 'slurm: slurmctld, slurmd, slurm-client and munge are not there or do not start'

EPOCHS=10
make_data
# Rank 2 gets no more than four steps at first, so that a job does not end before
# its signal.
mkdir gated
cat >gated/imgshard <<EOF
#!/bin/sh
if [ -n "\${GATE:-}" ] && [ "\$RANK" = 2 ] && [ "\${SLURM_RESTART_COUNT:-0}" = 0 ]; then
	"$BIN/imgshard" "\$@" | { head -c 60000; exec sleep 600; }
else
	exec "$BIN/imgshard" "\$@"
fi
EOF
chmod +x gated/imgshard
PATH=$PWD/gated:$BIN:$PATH
MANIFEST=shards/train.json
FEED='--threads 1'
WORKER="-e $ENGINE -t 1 --log-every 1"
TRAIN=$TOP/pipelines/train.sh
KEY=$PWD/key
ACCEL_MASTER=
export PATH MANIFEST CONFIG FEED WORKER TRAIN KEY
sbatch=$TOP/pipelines/slurm/train.sbatch

OUT=alone accel-launch -n 4 -- sh "$TRAIN" 2>err
is $? 0 'accel-launch -n 4' || tap_comment "$(tail -n 5 err)"

# ---- srun

# by NAME OPTIONS...: srun of a launcher, -- and its options
by() {
	want=$1
	OUT=$2
	export OUT
	shift 2
	timeout 100 "$@" -- sh "$TRAIN" >out 2>err
	is $? 0 "$*" || tap_comment "$(tail -n 5 err)"
	equal "$want" "$OUT" "$*"
}
by alone tasks srun -n4 -N1 accel-launch
by alone host srun -n1 -N1 accel-launch -n 4
# The nodes are this machine, and their names are not in the name service.
new_port
ACCEL_MASTER=127.0.0.1:$port
export ACCEL_MASTER
allreduce-ring keygen "$KEY"
OUT=pair accel-launch -n 2 --nodes 2 --node 1 --key-file "$KEY" -- sh "$TRAIN" >out 2>err1 &
OUT=pair accel-launch -n 2 --nodes 2 --node 0 --key-file "$KEY" -- sh "$TRAIN" >out 2>err
is $? 0 'accel-launch -n 2 --nodes 2' || tap_comment "$(tail -n 5 err)"
wait $!
new_port
by pair nodes srun -N2 --ntasks-per-node=1 accel-launch -n 2 --key-file "$KEY"
new_port
by pair nodes2 srun -N2 --ntasks-per-node=2 accel-launch --key-file "$KEY"

# ---- sbatch

# submit NAME OPTIONS...: the recipe; its number in $job
submit() {
	OUT=$1
	export OUT
	shift
	new_port
	ACCEL_MASTER=127.0.0.1:$port
	job=$(sbatch --parsable -o "$OUT.log" "$@" "$sbatch")
}
# ended NAME RESTARTS [RUN]: the job came to its end, with the bits of that run
ended() {
	want=${3:-alone}
	slurm_wait "$job"
	is "$(slurm_state "$job") $(slurm_field "$job" ExitCode) $(slurm_field "$job" Restarts)" \
		"COMPLETED 0:0 $2" "$1: the job" || tap_comment "$(tail -n 8 "$1.log")"
	equal "$want" "$1" "$1"
}
# running NAME: it has made steps
running() {
	tries=600
	while [ "$(grep -c step "$1/metrics.jsonl" 2>/dev/null)0" -lt 20 ] && [ $tries -gt 0 ]; do
		tries=$((tries - 1))
		sleep 0.1
	done
}
# stopped NAME: its first start has committed what was done
stopped() {
	tries=600
	until [ -e "$1/ckpt" ] && [ "$(checkpoints "$1")" != '* ' ] || [ $tries -eq 0 ]; do
		tries=$((tries - 1))
		sleep 0.1
	done
	like "$(checkpoints "$1")" '^step-00000000[1-9] ' "$1: is committed"
}
submit batch
ended batch 0
submit batch2 -N2 --ntasks-per-node=2
ended batch2 0 pair
GATE=1
export GATE
submit usr1
running usr1
# As Slurm does it two minutes before the end.
scancel --batch --signal=USR1 "$job"
stopped usr1
ended usr1 1
submit preempted -w n1 --exclusive
running preempted
GATE='' srun -p high -w n1 --exclusive true >out 2>err
is $? 0 'a job that preempts'
stopped preempted
ended preempted 1
none_left "*$tap_dir/gated*" 'nothing is left'
done_testing
