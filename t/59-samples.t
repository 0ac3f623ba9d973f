#!/bin/sh
# One rank, then four, then two, across interruptions: the samples of every step are
# those of the run that nobody interrupted; at the same number of ranks the weights are.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/fault.sh"

# samples DIR: of all ranks, each line once
samples() {
    sort -u "$1"/samples-*.tsv
}

make_data
RING=$PATIENT
OPTIONS=--log-samples
RANKS=1 job one
is $status 0 'one rank'
samples one > one.all
is "$(wc -l < one.all | tr -d ' ')" 128 'takes 8 x 16 samples'
is "$(cut -f 2,4 one.all | sort -u | wc -l | tr -d ' ')" 128 'each once an epoch'
RANKS=4 job four
samples four > four.all
same one.all four.all 'four ranks take the same'

OPTIONS='--log-samples --max-steps 3'
RANKS=1 job moved
is $status 75 'one rank stops after 3 steps'
OPTIONS=--log-samples
export ACCEL_FAULT=kill:rank2:step6:phase=backward
RANKS=4 job moved
unset ACCEL_FAULT
is $status 137 'four ranks go on until one is killed in step 6'
RANKS=2 job moved
is $status 0 'two ranks go on from there'
like "$(cat moved.err)" 'resuming from step 4 of 8' 'which is the step of the checkpoint'
samples moved > moved.all
same one.all moved.all 'all together took the same samples'

OPTIONS='--log-samples --max-steps 3'
RANKS=4 job cut
OPTIONS=--log-samples
RANKS=4 job cut
equal four cut 'four ranks and four'
samples cut > cut.all
same one.all cut.all 'and the same samples'
done_testing
