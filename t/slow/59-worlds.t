#!/bin/sh
# Runs that go from one number of ranks to another, cut in other ways, with the state
# of the optimizer sharded or not: the samples of every step are those of the run of
# one rank, tails of epochs and mixed images too; at the same number of ranks the
# weights are those of the run that nobody interrupted.
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$TOP/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/fault.sh"

make_data
cp small.yaml plain.yaml
RING=$PATIENT

# recipe LINE...: with these settings
recipe() {
    cp plain.yaml small.yaml
    sed -i '/^SOLVER.BATCH/d' small.yaml # each key once
    printf '%s\n' "$@" >> small.yaml
}
# go DIR RANKS ACCUM STATUS [OPTION]...: a part of a run
go() {
    go_dir=$1 RANKS=$2 go_want=$4
    cp small.yaml uncut.yaml
    echo "SOLVER.ACCUM: $3" >> small.yaml
    shift 4
    OPTIONS="--log-samples $*"
    job "$go_dir"
    mv uncut.yaml small.yaml
    [ $status = "$go_want" ] ||
        broken="$broken $go_dir, $RANKS ranks: status $status: $(tail -n 2 "$go_dir.err");"
}
# samples DIR: of all ranks, each line once
samples() {
    sort -u "$1"/samples-*.tsv > "$1.all"
    cmp -s one.all "$1.all" || broken="$broken $1: other samples;"
}
# bits A B: equal checkpoints
bits() {
    "$BIN/ckpt-merge" diff -q "$1" "$2" > diff.out 2>&1 ||
        broken="$broken $1 and $2: other bits;"
}

# path NAME BATCH [LINE]...: 1 -> 3 -> 2 ranks; 3 ranks, $accum micro-batches
# each, cut in three; 8 ranks
accum=4
path() {
    path_name=$1 path_batch=$2
    shift 2
    recipe "SOLVER.BATCH: $path_batch" "$@"
    broken=
    rm -rf one moved three cut eight eighth
    go one 1 1 0
    sort -u one/samples-0.tsv > one.all
    go moved 1 4 75 --max-steps 1
    ACCEL_FAULT=kill:rank2:step3:phase=backward
    export ACCEL_FAULT
    go moved 3 2 137 --shard-optim
    unset ACCEL_FAULT
    go moved 3 2 75 --shard-optim --max-steps 2
    go moved 2 3 0
    samples moved
    go three 3 $accum 0
    samples three
    go cut 3 $accum 75 --shard-optim --max-steps 2
    go cut 3 $accum 75 --max-steps 1
    go cut 3 $accum 0 --shard-optim
    samples cut
    bits three cut
    go eight 8 1 0
    samples eight
    go eighth 8 1 75 --max-steps 2 --shard-optim
    go eighth 8 1 0
    samples eighth
    bits eight eighth
    is "$broken" '' "$path_name"
}

# 64 samples: 2 steps of 24 an epoch and a tail of 16, wrapped, dropped, or short
path 'a tail that wraps' 24
path 'a tail that is dropped' 24 'SOLVER.TAIL: drop'
# 16 images in 12 would be one alone, with 1x1 in the last stage: that is refused
accum=2
path 'a tail that is short' 24 'SOLVER.TAIL: exact'
accum=4
path 'mixed images, an average' 24 'INPUT.MIXUP: 0.2' 'INPUT.CUTMIX: 1' \
    'SOLVER.EMA: true' 'SOLVER.EMA_STEPS: 2' 'SOLVER.EMA_DECAY: 0.9'
is "$(wc -l < one.all | tr -d ' ')" 144 'two epochs of three steps'
is "$(cut -f 2,4 one.all | sort | uniq -d | wc -l | tr -d ' ')" 16 \
    'in which the tail repeats so many'
done_testing
