#!/bin/sh
# --shard-optim: the same bits as without it, on one host and on several, however
# the run is cut; and what does not go together.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"
. "$TOP/t/lib/ports.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/hosts.sh"

# ---- slices of sums, gathered

for n in 1 2 3 5; do
    "$BIN/accel-launch" -n $n -- "$ring" -- "$w" worker slices=1 numel=1003 \
        buckets=3 > out 2> err
    is "$? $(grep -c "^\(0: \)\{0,1\}$n ranks" out)" "0 1" "slices of $n ranks" ||
        tap_comment "$(cat err)"
done
hosts 2 2 '' "$w" worker slices=1 numel=50021
is "$status" '0 0 0 0 ' 'two hosts of two ranks' || tap_comment "$(cat err.0)"
hosts 2 2 '' "$w" worker slices=1 numel=50016 lie=1
is "$status" '0 0 0 0 ' 'which lie in the memory' || tap_comment "$(cat err.0)"
hosts 3 1 '--streams 3 --wire bf16' "$w" worker slices=1 numel=3001
is "$status" '0 0 0 ' 'three hosts, bf16 between them' ||
    tap_comment "$(cat err.0)"
hosts 3 1 '--streams 3 --wire bf16' "$w" worker slices=1 numel=3008 lie=1
is "$status" '0 0 0 ' 'which lie in the memory' || tap_comment "$(cat err.0)"
hosts 2 1 '' "$w" worker slices=1 numel=7
is "$status" '0 0 ' 'a slice that is empty' || tap_comment "$(cat err.0)"
# ranks dealt out in turns: neighbours in the cut are not neighbours by number
new_port
pids=
for x in 0:0:a 1:0:b 2:1:a 3:1:b; do
    r=${x%%:*}
    l=${x#*:}
    timeout 60 "$ring" --timeout 20 --rank "$r" --world 4 --local-rank "${l%:*}" \
        --local-world 2 --rdzv "map${l#*:}" --master "127.0.0.1:$port" -- \
        "$w" worker slices=1 numel=5003 > "out.$r" 2> "err.$r" &
    pids="$! $pids"
done
finish_all
is "$status" '0 0 0 0 ' 'ranks dealt out to hosts in turns' ||
    tap_comment "$(cat err.0)"

# ---- runs

WORKER_FLAGS="--log-every 1"

# same_files A B NAME: every rank file, byte for byte
same_files() {
    different=
    for f in "$1"/ckpt/step-000000008/rank-*; do
        cmp "$f" "$2/${f#*/}" > /dev/null 2>&1 || different="$different ${f##*/}"
    done
    is "$different" '' "$3: the rank files are the same bytes"
}
norms() {
    jq 'select(.phase == "train") | [.step, .loss, .grad_norm]' "$1/metrics.jsonl"
}

make_data
# clipped, two groups of weights, an average: all that a shard may get wrong
all="SOLVER.CLIP_NORM 20 SOLVER.DECAY_NORM false SOLVER.EMA true \
SOLVER.EMA_STEPS 3 SOLVER.EMA_DECAY 0.999"
# shellcheck disable=SC2086
for n in 2 4; do
    # the wider network has several buckets
    width=$([ $n = 2 ] && echo MODEL.WIDTH 20)
    ranks $n plain$n "" $all $width
    is $? 0 "$n ranks without shards"
    ranks $n shard$n "--shard-optim" $all $width
    is $? 0 "$n ranks with shards" || tap_comment "$(cat shard$n.err)"
    same_files plain$n shard$n "$n ranks"
    is "$(norms shard$n)" "$(norms plain$n)" "$n ranks: losses and norms"
done
# shellcheck disable=SC2086
MILLRACE_SLOTS=off ranks 2 pipes --shard-optim $all MODEL.WIDTH 20
same_files plain2 pipes 'shards through pipes'
# where a host has one rank, its gradients and the sums are the same memory
for how in '' --shard-optim; do
    rm -rf apart
    hosts 2 1 '' sh -c "'$BIN/imgshard' feed shards/train.json -c '$CONFIG' --train \
        --threads 1 --from apart/ckpt $all MODEL.WIDTH 20 |
        '$WORKER' train -c '$CONFIG' -o apart -e $ENGINE -t 1 $how $all MODEL.WIDTH 20"
    is "$status" '0 0 ' "two hosts of one rank${how:+, with shards}" ||
        tap_comment "$(cat err.0)"
    same_files plain2 apart 'two hosts'
done
# norms of whole layers from parts of them: equal but for the order of sums
lars="SOLVER.OPTIMIZER lars SOLVER.LARS_ETA 0.01 SOLVER.BASE_LR 2"
# shellcheck disable=SC2086
{
    ranks 2 lars "" $lars
    ranks 2 larsshard "--shard-optim" $lars
    is $? 0 'LARS with shards'
    norms lars > a
    norms larsshard > b
    is "$(jq -n '[inputs] | map(.[1]) | length as $n |
        [range($n / 2)] as $i | ([.[]] | .[:$n / 2]) as $a | .[$n / 2:] as $b |
        [$n, ($i | all(($a[.] / $b[.] - 1) | fabs < 1e-4))]' -c a b)" \
        '[16,true]' 'and without: the same losses' ||
        tap_comment "$(cat a b | tr '\n' ' ')"
    "$BIN/ckpt-merge" diff -q lars plain2 > /dev/null 2>&1
    is $? 1 'which are not those of SGD'
}
"$BIN/ckpt-merge" verify shard4 > out 2>&1
is $? 0 'the checkpoint verifies'
# shellcheck disable=SC2086
{
    ranks 4 cut "--shard-optim --max-steps 3" $all
    is $? 75 'stopped with shards'
    ranks 4 cut "--max-steps 2" $all
    is $? 75 'gone on without'
    ranks 4 cut "--shard-optim" $all
    is $? 0 'gone on with them'
    same_files shard4 cut 'the run cut in three'
    ranks 4 moved "--shard-optim --max-steps 3" $all
    ranks 2 moved "--shard-optim --max-steps 3" $all SOLVER.ACCUM 2
    ranks 1 moved "--shard-optim" $all SOLVER.ACCUM 4
    is $? 0 'from four ranks to two to one'
    ranks 4 other "--max-steps 3" $all
    ranks 2 other "--max-steps 3" $all SOLVER.ACCUM 2
    ranks 1 other "" $all SOLVER.ACCUM 4
    equal moved other 'the same way without shards'
}

# ---- a rank that dies while the checkpoint is written leaves the old one
ranks 2 dead "--shard-optim --max-steps 3"
mkdir dead/ckpt/.step-000000008.tmp dead/ckpt/.step-000000004.tmp
cp dead/ckpt/step-000000003/rank-00000* dead/ckpt/.step-000000004.tmp
ranks 2 dead "--shard-optim"
is $? 0 'resumed beside a checkpoint that was not committed'
is "$(ls -A dead/ckpt)" "step-000000003
step-000000008" 'which is gone'
ranks 2 whole "--shard-optim"
same_files whole dead 'and the run'

# ---- several hosts
# trained OPTIONS: two hosts of two ranks
trained() {
    dir=$1
    hosts 2 2 '' sh -c "
        '$BIN/imgshard' feed shards/train.json -c '$CONFIG' --train --threads 1 \
            --from $dir/ckpt $all |
        '$BIN/accel-worker' train -c '$CONFIG' -o $dir -e $ENGINE -t 1 \
            --log-every 1 $2 $all"
}
trained hosts '--shard-optim'
is "$status" '0 0 0 0 ' 'two hosts of two ranks' || tap_comment "$(cat err.0)"
trained hosts2 ''
is "$status" '0 0 0 0 ' 'without shards' || tap_comment "$(cat err.0)"
same_files hosts hosts2 'several hosts'

# ---- plan
plan() {
    "$BIN/accel-worker" plan -e ref -c "$TOP/configs/resnet50-tv2.yaml" --json \
        --world 8 "$@"
}
plan > one
plan --shard-optim > eight
is "$(jq -s '(.[0].momentum / .[1].momentum * 100 | round) / 100' one eight)" 8 \
    'plan: an eighth of the momentum'
is "$(jq -s '(map(.memory - .program) | .[0] - .[1]) as $less |
    (($less - .[1].saved) | fabs) < 1e-6' one eight)" \
    true 'plan: what is saved is not there'
is "$(jq -s '.[0].checkpoint == .[1].checkpoint' one eight)" true \
    'plan: a checkpoint is the same'
done_testing
