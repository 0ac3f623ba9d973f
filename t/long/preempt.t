#!/bin/sh
# TERM and USR1 in every phase of a run of four ranks: what is done is committed,
# the status is 75, and the run that goes on ends with the bits of one that nobody
# disturbed.
. "${TOP:=$(cd "$(dirname "$0")/../.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/procs.sh"

launch=$BIN/accel-launch
# Names of our own: other tests run the same programs at the same time.
ln -s "$BIN/allreduce-ring" "$BIN/accel-worker" "$BIN/imgshard" "$BIN/t/61-comm.t" .
here=$PWD
EPOCHS=10
make_data

# A rank: what feeds it, and options of the worker.
feed="$here/imgshard feed shards/train.json -c $CONFIG --train --threads 1"
work="$here/allreduce-ring --timeout 60 -- $here/accel-worker train -c $CONFIG -e $ENGINE -t 1 --log-every 1"
# gate N: the data of rank 2 stop coming after N bytes, so that no run ends before
# its signal; a step is 13000 bytes.
gate() {
	# shellcheck disable=SC2016
	echo "if [ \$RANK = 2 ]; then head -c $1; touch dry; exec sleep 60; else cat; fi"
}
# begin SCRIPT: four ranks of it in the background
begin() {
	run "$launch" -n 4 -- sh -c "$1"
}
# whole DIR: the run goes on to its end
whole() {
	mkdir -p "$1"
	"$launch" -n 4 -- sh -c "$feed --from $1/ckpt | $work -o $1" >"$1.out" 2>"$1.err"
	is $? 0 "$1: and then to the end" || tap_comment "$(tail -n 5 "$1.err")"
	equal straight "$1" "$1"
}
# until_true COMMAND...: 60 s at most
until_true() {
	tries=600
	while ! "$@" && [ $tries -gt 0 ]; do
		tries=$((tries - 1))
		sleep 0.1
	done 2>/dev/null
}
# shellcheck disable=SC2317
saved() { [ "$(checkpoints save | wc -w)" -ge "$1" ]; }
# shellcheck disable=SC2317
lines() { [ "$(wc -l <"$1")" -ge "$2" ]; }
# stopped NAME: status 75, nothing left
stopped() {
	finish
	is "$got" 75 "$1" || tap_comment "$(tail -n 5 err)"
	none_left "$here/*" "$1: nothing is left"
}

mkdir straight
whole straight

# ---- start-up

# shellcheck disable=SC2016
begin 'touch shell.$RANK; sleep 60; exit 3'
until_true test -e shell.0 -a -e shell.1 -a -e shell.2 -a -e shell.3
kill -TERM "$pid"
stopped 'TERM before there is a ring'
# shellcheck disable=SC2016
begin '[ $RANK != 3 ] || exec sleep 60;'" exec $work -o x"
wait_for 3 "$here/allreduce-ring *"
kill -USR1 "$pid"
stopped 'USR1 while the ranks meet'
begin "sleep 60 | $work -o x"
wait_for 4 "$here/accel-worker *"
kill -TERM "$pid"
stopped 'TERM before the first batch'
[ ! -e x/ckpt ]
ok $? 'and nothing is committed, since nothing has begun'

# ---- data wait: one rank has no more data, the others do

mkdir data
begin "$feed --from data/ckpt | $(gate 60000) | $work -o data"
until_true test -e dry
until_true lines data/metrics.jsonl 2
kill -USR1 "$pid"
stopped 'USR1 in the wait for data'
like "$(checkpoints data)" 'step-00000000[1-9] ' 'what is done is committed'
whole data

# ---- reduction: a rank stands still, the others wait for it

mkdir sum
begin "until [ -e go ]; do sleep .1; done; $feed --from sum/ckpt | $(gate 100000) | $work -o sum"
wait_for 4 "sh -c until*from sum/ckpt*"
touch go
until_true lines sum/metrics.jsonl 1
still=$(of_rank 1 "$here/accel-worker *")
kill -STOP "$still"
kill -TERM "$pid"
kill -CONT "$still"
stopped 'TERM in the reduction'
whole sum

# ---- checkpoint: one after every step, so that is where a signal finds them

mkdir save
i=0
while [ $i -lt 3 ]; do
	i=$((i + 1))
	had=$(checkpoints save | wc -w)
	begin "$feed --from save/ckpt | $(gate 150000) | $work --save-every 1it --keep 99 -o save"
	until_true saved $((had + i))
	kill -TERM "$pid"
	stopped "TERM in a checkpoint, $i"
	"$BIN/ckpt-merge" verify -q save >/dev/null
	ok $? 'which is whole'
done
whole save

# ---- a signal to every process of the job, as Slurm sends it

mkdir every
begin "$feed --from every/ckpt | $(gate 60000) | $work -o every"
until_true lines every/metrics.jsonl 2
# shellcheck disable=SC2046
kill -USR1 $(left "*$here/*" | sort -n) 2>/dev/null
stopped 'USR1 to every process'
like "$(checkpoints every)" 'step-0000' 'and the steps are committed'
whole every

# ---- evaluation

"$BIN/ckpt-merge" -o model.safetensors straight >/dev/null 2>&1
ok $? 'a model'
for how in TERM:75 INT:130; do
	rm -f out
	mkfifo images
	{
		"$here/imgshard" feed shards/val.json -c "$CONFIG" --eval SOLVER.MICRO 4 | head -c 30000
		exec sleep 60
	} >images 2>/dev/null &
	feeder=$!
	"$here/accel-worker" predict -c "$CONFIG" -e "$ENGINE" -t 1 \
		-w model.safetensors <images >out 2>err &
	pid=$!
	until_true test -s out
	kill -"${how%:*}" "$pid"
	finish
	kill "$feeder"
	rm images
	is "$got" "${how#*:}" "${how%:*} in predict"
done
done_testing
