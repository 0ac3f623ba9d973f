#!/bin/sh
# Real mpirun and torchrun: the commands of the manual start four ranks whose
# checkpoint has the bits that accel-launch gives; and the pods of train.yaml.
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$TOP/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/ports.sh"
. "$TOP/t/lib/procs.sh"

PY=${PEER_PYTHON:-python3}
EPOCHS=4
make_data
PATH=$BIN:$PATH
MANIFEST=shards/train.json
FEED='--threads 1'
WORKER="-e $ENGINE -t 1"
TRAIN=$TOP/pipelines/train.sh
export PATH MANIFEST CONFIG FEED WORKER

OUT=alone accel-launch -n 4 -- sh "$TRAIN" 2>err
is $? 0 'accel-launch -n 4' || tap_comment "$(tail -n 5 err)"
# by NAME COMMAND...
by() {
	OUT=$1
	export OUT
	shift
	timeout 100 "$@" >out 2>err
	is $? 0 "$OUT" || tap_comment "$(tail -n 5 err)"
	equal alone "$OUT" "$OUT"
}

# Some are there and cannot start anything (no network at all).
mpi='mpirun --allow-run-as-root --oversubscribe'
# shellcheck disable=SC2086
if command -v mpirun >/dev/null && timeout 20 $mpi -n 1 true >/dev/null 2>&1; then
	# shellcheck disable=SC2086
	by mpirun $mpi -n 4 accel-launch -- sh "$TRAIN"
	# shellcheck disable=SC2086
	by mpirun2 $mpi -n 2 accel-launch -n 2 -- sh "$TRAIN"
else
	skip 4 'mpirun is not there or does not start'
fi
if "$PY" -c 'import torch.distributed.run' 2>/dev/null; then
	new_port
	by torchrun "$PY" -m torch.distributed.run --master-port "$port" --no-python \
		--nproc-per-node 4 accel-launch -n 1 -- sh "$TRAIN"
else
	skip 2 'torch: no torchrun'
fi

# ---- a container, in which the launcher is the first process

if unshare --pid --fork --mount-proc true 2>/dev/null; then
	by container unshare --pid --fork --mount-proc accel-launch -n 4 -- sh "$TRAIN"
	# shellcheck disable=SC2016
	unshare --pid --fork --mount-proc accel-launch -n 2 -- sh -c '
		[ $RANK = 1 ] || {
			until [ "$(pgrep -fc "[6]1-comm.t worker")" -ge 4 ]; do sleep 0.1; done
			kill -TERM 1
		} &
		exec allreduce-ring -- "$0" worker steps=1000 sleep=20' "$BIN/t/61-comm.t" >out 2>err
	is $? 75 'TERM in a container: status 75' || tap_comment "$(tail -n 5 err)"
else
	skip 3 'unshare: not allowed here'
fi

# ---- Kubernetes: its command, one launcher for each pod

recipe=$TOP/pipelines/kubernetes/train.yaml
if "$PY" -c 'import yaml' 2>/dev/null; then
	"$PY" - "$recipe" >pod <<'X2'
import sys, yaml
service, job = yaml.safe_load_all(open(sys.argv[1]))
assert service["kind"] == "Service" and job["kind"] == "Job"
spec = job["spec"]
pod = spec["template"]["spec"]
assert spec["completionMode"] == "Indexed"
assert spec["completions"] == spec["parallelism"]
assert pod["restartPolicy"] == "Never"  # podFailurePolicy wants it
assert pod["subdomain"] == service["metadata"]["name"]
# Job's name: selector of the service, and the first part of the master's name
name = job["metadata"]["name"]
assert service["spec"]["selector"]["job-name"] == name
for volume in pod["containers"][0]["volumeMounts"]:
    assert volume["name"] in [v["name"] for v in pod["volumes"]]
command = pod["containers"][0]["command"]
assert all(type(word) is str for word in command)
assert command[command.index("--nodes") + 1] == str(spec["completions"])
assert command[command.index("--master") + 1].startswith(f"{name}-0.{name}:")
rules = spec["podFailurePolicy"]["rules"]
codes = {c: r["action"] for r in rules for c in r.get("onExitCodes", {}).get("values", [])}
assert codes[75] == "Ignore" and codes[64] == "FailJob"
print(" ".join(command))
X2
	is $? 0 'train.yaml is what it should be'
	allreduce-ring keygen key
	new_port
	words=$(sed "s#-n 4#-n 2#; s#--master [^ ]*#--master 127.0.0.1:$port#; s#/key/key#$PWD/key#; s#/[^ ]*/train.sh#$TRAIN#" pod)
	OUT=pods
	export OUT
	# shellcheck disable=SC2086
	JOB_COMPLETION_INDEX=1 timeout 100 $words >out1 2>err1 &
	pids=$!
	# shellcheck disable=SC2086
	JOB_COMPLETION_INDEX=0 timeout 100 $words >out 2>err
	is $? 0 'the first pod' || tap_comment "$(tail -n 5 err)"
	finish_all
	is "$status" '0 ' 'the other pod'
	new_port
	OUT=nodes accel-launch -n 2 --nodes 2 --node 1 --master 127.0.0.1:$port -- sh "$TRAIN" >out1 2>err1 &
	pids=$!
	OUT=nodes accel-launch -n 2 --nodes 2 --node 0 --master 127.0.0.1:$port -- sh "$TRAIN" >out 2>err
	finish_all
	equal nodes pods 'pods'
else
	skip 4 'yaml: no Python that reads it'
fi
done_testing
