# shellcheck disable=SC2154
# slurm.sh - a Slurm of one's own on this machine: two nodes with 8 processors (so
# it says), partitions low and high, of which high preempts. Source it after tap.sh
# and ports.sh. All of it lies in ./slurm and ends with the script.

# slurm_start: 1 if it is not installed or does not start
slurm_start() {
	for slurm_p in slurmctld slurmd munged srun sbatch; do
		command -v $slurm_p >/dev/null || PATH=$PATH:/usr/sbin:/sbin
		command -v $slurm_p >/dev/null || return 1
	done
	slurm=$PWD/slurm
	slurm_host=$(hostname -s)
	mkdir -p "$slurm/munge" "$slurm/state" "$slurm/spool"
	# munged wants nobody else to write on the way to its socket.
	chmod 755 "$PWD" "$slurm" "$slurm/munge"
	(umask 077 && head -c 1024 /dev/urandom >"$slurm/munge.key")
	new_port
	slurm_ctld=$port
	new_port
	slurm_n1=$port
	new_port
	cat >"$slurm/slurm.conf" <<EOF
ClusterName=millrace
SlurmctldHost=$slurm_host(127.0.0.1)
SlurmctldPort=$slurm_ctld
AuthType=auth/munge
AuthInfo=socket=$slurm/munge/sock,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/spool/%n
SlurmctldPidFile=$slurm/slurmctld.pid
SlurmdPidFile=$slurm/%n.pid
SlurmctldLogFile=$slurm/slurmctld.log
SlurmdLogFile=$slurm/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=1,sched_min_interval=100000,bf_interval=1,batch_sched_delay=1,default_queue_depth=10
KillWait=30
ReturnToService=2
NodeName=n1 NodeHostname=$slurm_host NodeAddr=127.0.0.1 Port=$slurm_n1 CPUs=8 State=UNKNOWN
NodeName=n2 NodeHostname=$slurm_host NodeAddr=127.0.0.1 Port=$port CPUs=8 State=UNKNOWN
PartitionName=low Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
EOF
	SLURM_CONF=$slurm/slurm.conf
	export SLURM_CONF
	# shellcheck disable=SC2154
	trap 'slurm_left=$?; slurm_stop; (exit $slurm_left); tap_leave' EXIT
	{
		munged --key-file="$slurm/munge.key" --socket="$slurm/munge/sock" \
			--pid-file="$slurm/munge/pid" --log-file="$slurm/munge/log" \
			--seed-file="$slurm/munge/seed" &&
			slurmctld && slurmd -N n1 && slurmd -N n2
	} >"$slurm/start.log" 2>&1 || return 1
	slurm_tries=300
	while [ "$(sinfo -h -p low -t idle -o %D 2>/dev/null)" != 2 ]; do
		slurm_tries=$((slurm_tries - 1))
		[ $slurm_tries -gt 0 ] || return 1
		sleep 0.1
	done
}

slurm_stop() {
	scancel -u "$(id -un)" >/dev/null 2>&1
	for slurm_p in n1 n2 slurmctld munge/pid; do
		slurm_p=${slurm_p%/pid}
		slurm_f=$slurm/$slurm_p.pid
		[ -e "$slurm_f" ] || slurm_f=$slurm/$slurm_p/pid
		slurm_pid=$(cat "$slurm_f" 2>/dev/null) || continue
		kill "$slurm_pid" 2>/dev/null || continue
		slurm_tries=100
		while kill -0 "$slurm_pid" 2>/dev/null && [ $slurm_tries -gt 0 ]; do
			slurm_tries=$((slurm_tries - 1))
			sleep 0.1
		done
		kill -9 "$slurm_pid" 2>/dev/null
	done
}

# slurm_state JOB: PENDING, RUNNING, COMPLETED, FAILED, ...
slurm_state() {
	scontrol -o show job "$1" 2>/dev/null | sed -n 's/.* JobState=\([A-Z_]*\).*/\1/p'
}
# slurm_field JOB NAME
slurm_field() {
	scontrol -o show job "$1" 2>/dev/null | tr ' ' '\n' | sed -n "s/^$2=//p"
}
# slurm_wait JOB: until it has ended; a job that is queued again starts some seconds later
slurm_wait() {
	slurm_tries=600
	while [ $slurm_tries -gt 0 ]; do
		case $(slurm_state "$1") in
		COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL) return 0 ;;
		esac
		slurm_tries=$((slurm_tries - 1))
		sleep 0.2
	done
	return 1
}
