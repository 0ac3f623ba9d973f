#!/bin/sh
# SOLVER.EMA: the average of the weights is kept beside the run, is resumed
# exactly, and is a model.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"
C=$BIN/ckpt-merge

make_data
ema="SOLVER.EMA true SOLVER.EMA_STEPS 2 SOLVER.EMA_DECAY 0.98"
run plain
# shellcheck disable=SC2086
run average $ema
is $? 0 'a run with an average' || tap_comment "$(cat average.err)"
"$C" -o plain.sft plain && "$C" -o model.sft average
expect_status 0 'the weights are those without it' "$C" diff plain.sft model.sft
expect_status 0 'its average' "$C" --ema -o ema.sft average
is "$("$C" ls ema.sft)" "$("$C" ls model.sft)" 'has the tensors of the model'
expect_status 1 'and other numbers' "$C" diff -q model.sft ema.sft
expect_status 0 'a checkpoint beside a model' "$C" diff model.sft average
expect_status 65 'a run without one' "$C" --ema -o x plain
like "$(cat err)" 'plain/ckpt/step-000000008: no average of the weights' 'says so'
expect_status 64 'all and the average' "$C" --all --ema -o x average
expect_status 0 'all of it' "$C" --all -o all.sft average
expect_status 0 'and the average of that' "$C" --ema -o again.sft all.sft
same again.sft ema.sft 'is the same file'
expect_status 0 'cast' "$C" cast --ema --to fp64 -o wide.sft average
expect_status 0 'and back' "$C" cast --to fp32 -o back.sft wide.sft
expect_status 0 'is it' "$C" diff back.sft ema.sft
expect_status 0 'the mean of it and itself' \
    "$C" average --ema -o mean.sft average average
expect_status 0 'is it, too' "$C" diff mean.sft ema.sft

# ---- resumed: in steps with an update, and without
for at in 1 2 3 5; do
    # shellcheck disable=SC2086
    {
        feed cut$at $ema 2> feed.err | worker cut$at --max-steps $at $ema 2> err
        run cut$at $ema
    }
    equal average cut$at "interrupted at step $at"
done
feed plain SOLVER.EPOCHS 3 SOLVER.EMA true 2> feed.err |
    "$BIN/accel-worker" train -q -c "$CONFIG" -e "$ENGINE" -o plain \
        SOLVER.EPOCHS 3 SOLVER.EMA true > out 2> err
is $? 78 'a run that began without one cannot get one'
one_line err 'in one line'

# ---- it predicts
"$BIN/imgshard" feed shards/val.json -c "$CONFIG" --eval 2> feed.err > val.sft
for m in model.sft ema.sft; do
    "$BIN/accel-worker" predict -q -c "$CONFIG" -e "$ENGINE" -w $m \
        < val.sft > $m.pred 2> err
    is $? 0 "$m predicts"
done
"$BIN/accel-worker" predict -q -c "$CONFIG" -e "$ENGINE" \
    -w average/ckpt/step-000000008 < val.sft > step.pred 2> err
same step.pred model.sft.pred 'a checkpoint predicts with its weights'
cmp -s model.sft.pred ema.sft.pred
is $? 1 'the average with others'
done_testing
