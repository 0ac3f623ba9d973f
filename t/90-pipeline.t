#!/bin/sh
# make -C pipelines imagenet: from pictures to a score, interrupted and typed
# again, with one rank and with two.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"

# The programs are there: the pipeline is not to build while others test.
pipeline() {
    make --no-print-directory -C "$TOP/pipelines" BIN="$BIN" BUILD=: \
        OUT="$PWD/out-dir" IMAGENET="$PWD/made-up" EPOCHS=3 \
        CONFIG="$CONFIG" "$@" \
        > out 2> err
}

make_data
rm -rf shards

pipeline -n imagenet
is $? 0 "make -n"
[ ! -e out-dir ]
ok $? "does nothing"
sh -n out
is $? 0 "prints commands that a shell reads"

pipeline imagenet
is $? 0 "make imagenet" || sed 's/^/# /' err | tail -n 20
is "$(tail -n 1 out | jq -r '.n')" 16 "prints the score of all 16 images"
is "$(jq -r '.n' out-dir/score.json)" 16 "and keeps it"
is "$(cd out-dir && echo *)" \
    "ckpt metrics.jsonl model.safetensors predictions.sft run.json score.json settings shards" \
    "what a run leaves"
before=$(cksum out-dir/model.safetensors)

pipeline imagenet
is $? 0 "typed again"
unlike "$(cat out err)" 'accel-worker|imgshard' "nothing is done again"


# mistakes of the command line
mistake() {
    make --no-print-directory -C "$TOP/pipelines" imagenet-pack BIN="$BIN" \
        BUILD=: OUT="$PWD/out-dir" IMAGENET="$PWD/made-up" "$@" > out 2> err
}
mkdir other
mistake IMAGENET="$PWD/other"
isnt=$?
[ $isnt -ne 0 ]
ok $? "other images for the same OUT"
like "$(cat err)" "out-dir/shards: made of $PWD/made-up, not of $PWD/other: take another OUT" \
    "are not taken for those that are packed"
mistake OUT="$PWD/two words"
like "$(cat err)" 'OUT="[^"]*two words": a path with blanks' "a path with blanks"
mistake NGPU=3 BATCH=16 OUT="$PWD/odd"
is "$(grep -cv '^make' err)" 1 "a batch that ranks do not divide: one line"
like "$(cat err)" 'global batch 16 does not divide by 3 ranks x accum 1: nearest that does: 15 or 18' "says so"
[ ! -e odd ]
ok $? "before anything is made"
mistake SET='SOLVER.MOMENTUM much' OUT="$PWD/odd"
like "$(cat err)" 'SOLVER.MOMENTUM' "so with a setting that is wrong"
(unset MAKELEVEL MAKEFLAGS && mistake EPOCS=3)
like "$(cat err)" 'EPOCS: no variable of a pipeline' "a variable that is none"

rm -rf out-dir/score.json out-dir/predictions.sft out-dir/model.safetensors
pipeline imagenet
is $? 0 "results lost: made again from the checkpoint"
is "$(cksum out-dir/model.safetensors)" "$before" "the same model"

pipeline imagenet REQUIRE=top1=1.01
isnt=$?
[ $isnt -ne 0 ]
ok $? "a score that is required and not reached fails"
like "$(cat err)" 'top1' "and says which"

rm -rf out-dir/ckpt
pipeline imagenet-train KEEP=3 SAVE_EVERY=1ep EPOCHS=5
is $? 0 "longer, with checkpoints"
is "$(checkpoints out-dir | wc -w)" 3 "of which three stay"
pipeline imagenet-best EPOCHS=5
is $? 0 "the best one of them" || sed 's/^/# /' err | tail -n 20
is "$(jq -c .score.top1 out-dir/ckpt/best/score.json)" \
    "$(jq -s 'map(select(.event == "best")) | last | .score.top1' out-dir/metrics.jsonl)" \
    "its score is in the log"
"$BIN/ckpt-merge" diff out-dir/best.safetensors out-dir/ckpt/best > diff.out
is $? 0 "its model is there"

# interrupted in training, typed again: the same model
rm -rf out-dir
pipeline imagenet-pack
is $? 0 "a stage alone"
pipeline imagenet SAVE_EVERY=1it EPOCHS=300 &
pid=$!
i=0
while [ "$(checkpoints out-dir)" = '* ' ] && [ $i -lt 100 ]; do
    sleep 0.1
    i=$((i + 1))
done
pkill -9 -f "out-dir/ckpt" 2> /dev/null
pkill -9 -f "accel-worker train.*$PWD/out-dir" 2> /dev/null
wait $pid
rm -rf out-dir/ckpt out-dir/metrics.jsonl
pipeline imagenet
is $? 0 "killed in training, and again"
is "$(cksum out-dir/model.safetensors)" "$before" "the same model"

pipeline -n imagenet-train MICRO=auto BATCH=8
sh -n out
is $? 0 "MICRO=auto can be pasted, too"
rm -rf out-dir/ckpt out-dir/metrics.jsonl
pipeline imagenet-train MICRO=auto BATCH=8
is $? 0 "MICRO=auto" || sed 's/^/# /' err | tail -n 20
is "$(cat out-dir/micro)" 8 "all of the batch fits"
like "$(cat err)" '8 micro x 1 rank' "and is what is trained with"

rm -rf out-dir
pipeline imagenet NGPU=2 OUT="$PWD/out-dir"
is $? 0 "NGPU=2" || sed 's/^/# /' err | tail -n 20
is "$(jq -r '.n' out-dir/score.json)" 16 "scores all images"
like "$(cat err)" '8 micro x 2 ranks' "on two ranks"

pipeline -n imagenet-train MICRO=auto BATCH=8 WORKER='--recompute --keep-every 5'
like "$(cat out)" 'accel-worker train .*--recompute --keep-every 5' "options of the worker"
like "$(grep 'accel-worker fit' out)" ' --recompute ' "of which one is fit's, too"
rm -rf out-dir
pipeline imagenet SET='SOLVER.EMA true SOLVER.EMA_STEPS 1 SOLVER.EMA_DECAY 0.98'
is $? 0 "with an average of the weights" || sed 's/^/# /' err | tail -n 20
expect_status 0 "average and weights" "$BIN/ckpt-merge" --ema -o ema.sft out-dir
"$BIN/ckpt-merge" -o weights.sft out-dir
expect_status 0 "the average is the model" \
    "$BIN/ckpt-merge" diff ema.sft out-dir/model.safetensors
expect_status 1 "the weights are not" \
    "$BIN/ckpt-merge" diff -q weights.sft out-dir/model.safetensors

# a model of others is scored as it is
mv out-dir/model.safetensors given.sft
for n in 1 2; do
    rm -rf out-dir
    pipeline imagenet EPOCHS=0 NGPU=$n WEIGHTS="$PWD/given.sft"
    is $? 0 "EPOCHS=0 NGPU=$n" || sed 's/^/# /' err | tail -n 20
    expect_status 0 "the model is what was given" \
        "$BIN/ckpt-merge" diff -q given.sft out-dir/model.safetensors
    is "$(jq .n out-dir/score.json)" 16 "and is scored"
done

done_testing
