#!/bin/sh
# make -C pipelines imagenet: from pictures to a score, interrupted and typed
# again, with one rank and with two.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/procs.sh"
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

mistake OUT=
like "$(cat err)" 'OUT="": empty' "an empty OUT is not the root"
mistake OUT="$PWD/a;b"
like "$(cat err)" 'a path with ;' "a path that the shell would cut"
mistake SET="INPUT.RATIO (0.7,1.3)"
like "$(cat err)" 'SET="INPUT.RATIO \(0.7,1.3\)": a value with \(' "a value that it would, too"

# told before anything is packed
early() {
    early_name=$1 early_like=$2
    shift 2
    mistake OUT="$PWD/early" "$@"
    like "$(cat err)" "$early_like" "$early_name: told"
    [ ! -e early/shards/train.json ]
    ok $? "$early_name: before anything is packed"
}
early "a key that is none" 'unknown key "SOLVER.EPOCS" \(nearest' SET='SOLVER.EPOCS 3'
early "a value that is none" 'SOLVER.PRECISION: value "fp8"' PREC=fp8
early "a batch that cannot be cut" 'does not divide by 3 ranks' NGPU=3
early "no ranks" 'world: value "0"' NGPU=0
early "a network that is none" 'unknown model "resnet999"' MODEL=resnet999
early "a period that is none" 'save-every: "5"' SAVE_EVERY=5
early "threads that are none" '^imgshard: --threads: value "x"' THREADS=x
is "$(grep -cv '^make' err)" 1 "in one line"
early "retries that are none" 'retries: value "x"' RETRY=x
early "a score that nobody gives" 'require top9' REQUIRE=top9=0.5
early "a score that is none" 'require' REQUIRE=much
early "an empty variable" 'NGPU="": empty' NGPU=
early "no recipe" 'none.yaml: open: No such file' CONFIG=none.yaml
early "no weights" 'WEIGHTS="none": not there' WEIGHTS=none
echo text > text.sft
early "weights that are none" 'text.sft: ' WEIGHTS="$PWD/text.sft"
"$BIN/accel-worker" init -q -e ref -o other.sft MODEL.NAME resnet34 MODEL.WIDTH 8 MODEL.CLASSES 10
early "those of another network" "other.sft: does not fit the model" WEIGHTS="$PWD/other.sft" MODEL=resnet18 SET='MODEL.WIDTH 8'
mkdir -p made-up/train/.hidden # no class
early "those of other classes" "other.sft: does not fit the model: \"fc.bias\" is F32 .10., expected F32 .4." IMAGENET="$PWD/made-up" WEIGHTS="$PWD/other.sft" \
    MODEL=resnet34 SET='MODEL.WIDTH 8'
early "no engine" 'unknown engine "x"' ENGINE=x
early "an engine without the precision" 'F16: oneDNN does not train' ENGINE=cpu PREC=fp16
mkdir half
ln -s "$PWD/made-up/train" half/train
early "no val" "$PWD/half/val: not there" IMAGENET="$PWD/half"

ln -s "$PWD/made-up/val" half/validation
mistake OUT="$PWD/half-out" IMAGENET="$PWD/half"
is $? 0 "validation/ is val/, too" || sed 's/^/# /' err | tail -n 20
is "$(jq .samples half-out/shards/val.json)" 16 "and is packed"
rm half/validation
mistake OUT="$PWD/half-out" IMAGENET="$PWD/half"
is $? 0 "once it is packed, nobody asks for it"
rm half-out/shards/val.json
mistake OUT="$PWD/half-out" IMAGENET="$PWD/half"
isnt=$?
[ $isnt -ne 0 ]
ok $? "but for what is not"
like "$(cat err)" "$PWD/half/val: not there" "which is told"

# what is no image
mkdir -p spoilt/val
cp -r made-up/train spoilt/train
cp -r made-up/val spoilt
echo x > "$(find spoilt/train/* -type d | head -n 1)/Thumbs.db"
mistake OUT="$PWD/spoilt-out" IMAGENET="$PWD/spoilt"
like "$(cat err)" 'Thumbs.db: neither JPEG nor PNG' "a file that is no image"
mistake OUT="$PWD/spoilt-out" IMAGENET="$PWD/spoilt" PACK='--on-bad drop' \
    SET='SOLVER.TAIL drop'
is $? 0 "can be left out"
is "$(jq .samples spoilt-out/shards/train.json)" 64 "and the others are there"

# another recipe in the same file
cp "$CONFIG" kept.yaml
echo 'SOLVER.MOMENTUM: 0.8' >> "$CONFIG"
pipeline imagenet
isnt=$?
[ $isnt -ne 0 ]
ok $? "a recipe that was changed is not passed over"
like "$(cat err)" 'made with SOLVER.MOMENTUM 0.9, here it is 0.8' "and is told"
cp kept.yaml "$CONFIG"
pipeline imagenet
is $? 0 "the old one goes on"
is "$(cksum out-dir/model.safetensors)" "$before" "with the same model"

rm -rf out-dir/score.json out-dir/predictions.sft out-dir/model.safetensors
pipeline imagenet
is $? 0 "results lost: made again from the checkpoint"
is "$(cksum out-dir/model.safetensors)" "$before" "the same model"

pipeline imagenet REQUIRE=n=17
isnt=$?
[ $isnt -ne 0 ]
ok $? "a score that is required and not reached fails"
like "$(cat err)" 'n: 16.0 is below the required 17.0' "and says which"

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

# a run that goes on removes checkpoints meanwhile: that is passed over, but not
# what fails on one that is there
mkdir racing
ln -s "$BIN"/* racing
# race PROGRAM SUBCOMMAND COMMAND...: when it comes to the second one, $step
race() {
    race_program=$1 race_command=$2
    shift 2
    rm -f "racing/$race_program" turns
    cat > "racing/$race_program" << EOF
#!/bin/sh
step=\$(printf '%s\n' "\$@" | grep '/step-')
[ "\$1" = $race_command ] && echo >> '$PWD/turns' &&
    [ \$(wc -l < '$PWD/turns') -eq 2 ] && { $*; }
exec '$BIN/$race_program' "\$@"
EOF
    chmod +x "racing/$race_program"
    rm -rf out-dir/ckpt/best out-dir/best.safetensors
    pipeline imagenet-best BIN="$PWD/racing" EPOCHS=5
    raced=$?
    ln -sf "$BIN/$race_program" "racing/$race_program"
}
# shellcheck disable=SC2016
{
    race accel-worker predict 'rm -r "$step"'
    is $raced 0 "a checkpoint goes before it is read" || sed 's/^/# /' err | tail -n 20
    is "$(checkpoints out-dir | wc -w) $(grep -c '"n":16' out-dir/ckpt/best/score.json)" "3 1" \
        "the others are scored, the best stays"
    race ckpt-merge best 'rm -r "$step"'
    is $raced 0 "one goes between its score and the choice" || sed 's/^/# /' err | tail -n 20
    is "$(checkpoints out-dir | wc -w)" 2 "the last one is the best"
    cp -r out-dir/ckpt/step-* out-dir/ckpt/step-000000001
    race accel-worker predict 'exit 71'
    [ $raced -ne 0 ]
    ok $? "one that is there and cannot be scored is no race"
    [ ! -e out-dir/best.safetensors ]
    ok $? "and nothing is said to be the best"
}

# interrupted in training, typed again: the same model
rm -rf out-dir
pipeline imagenet-pack
is $? 0 "a stage alone"
pipeline imagenet SAVE_EVERY=1it EPOCHS=300 &
pid=$!
# shellcheck disable=SC2317
saved() { [ "$(checkpoints out-dir)" != '* ' ]; }
await saved
pkill -9 -f "$PWD/out-dir/ckpt" 2> /dev/null
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

mkdir out-dir/.made-up.1.tmp
touch out-dir/predictions.sft.tmp out-dir/settings.new out-dir/samples-0.tsv
pipeline clean
is $? 0 "clean"
[ ! -e out-dir ]
ok $? "leaves nothing"
pipeline imagenet NGPU=2 OUT="$PWD/out-dir"
is $? 0 "NGPU=2" || sed 's/^/# /' err | tail -n 20
is "$(jq -r '.n' out-dir/score.json)" 16 "scores all images"
like "$(cat err)" '8 micro x 2 ranks' "on two ranks"
is "$(grep -ao '"n":"[0-9]*"' out-dir/predictions.sft | sort -u)" '"n":"8"' \
    "which predicts as many at once as a rank of them"

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
