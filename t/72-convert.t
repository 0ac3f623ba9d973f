#!/bin/sh
# ckpt-merge: strip, reshard, convert.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
C=$BIN/ckpt-merge
make_step() { "$BIN/t/70-ckpt.t" make "$@"; }

make_step run 16 3
"$C" -o model.sft run

# ---- strip

"$C" --all -o all.sft run
expect_status 0 'strip what was joined with all' "$C" strip -o m.sft all.sft
same m.sft model.sft 'is the model'
expect_status 0 'strip a run' "$C" strip -o m.sft run
same m.sft model.sft 'is it, too'
expect_status 0 'strip a model' "$C" strip -o m.sft model.sft
same m.sft model.sft 'changes nothing'
expect_status 65 'no average' "$C" strip --ema -o x run
expect_status 64 'all of it is not stripped' "$C" strip --all -o x run

# ---- reshard

for n in 1 2 5 9; do
    expect_status 0 "into $n files" "$C" reshard -n $n -o to$n run
    is "$(cat out)$(cat err)" '' 'silent'
    make_step want$n 16 $n
    is "$(cd to$n/ckpt/step-000000016 && echo rank-*)" \
        "$(cd want$n/ckpt/step-000000016 && echo rank-*)" 'their names'
    for f in "want$n"/ckpt/step-000000016/rank-*; do
        cmp "$f" "to$n/${f#*/}"
    done > cmp.out 2>&1
    is "$(cat cmp.out)" '' 'the bytes that so many ranks write'
    expect_status 0 'is whole' "$C" verify to$n
    expect_status 0 'and the same checkpoint' "$C" diff run to$n
done
is "$("$C" ls to5 | cut -f 1,2,4)" 'step 16	samples 128	world 5' 'listed as such'
expect_status 0 'there and back' "$C" reshard -n 3 -o back to9
for f in run/ckpt/step-000000016/*; do
    same "$f" "back/${f#*/}" "${f##*/}"
done
expect_status 73 'a step that is there' "$C" reshard -n 2 -o run run
like "$(cat err)" 'run/ckpt/step-000000016: is there already' 'is named'
expect_status 0 'and left alone' "$C" verify run
expect_status 64 'no directory' "$C" reshard -n 2 run
expect_status 64 'a model file' "$C" reshard -n 2 -o x model.sft
one_line err 'one line'
expect_status 64 'no rank' "$C" reshard -n 0 -o x run
expect_status 66 'no checkpoint' "$C" reshard -n 2 -o x nothing
expect_status 73 'an output that cannot be made' "$C" reshard -o /proc/none run
one_line err 'one line'
cp -R run bad
printf 'x' | dd of=bad/ckpt/step-000000016/state.json bs=1 seek=40 conv=notrunc 2> dd.err
expect_status 65 'a damaged one' "$C" reshard -o x bad
[ ! -e x ]
ok $? 'nothing was left of failures'
is "$(find . -name '.step-*')" '' 'nor a temporary'

# ---- convert

for net in resnet18 resnet50; do
    "$BIN/accel-worker" init -q -e ref -o $net.sft MODEL.NAME $net MODEL.WIDTH 8 \
        MODEL.CLASSES 5
    expect_status 0 "$net for Detectron2" "$C" convert -o $net.d2 $net.sft
    # detectron2 tools/convert-torchvision-to-d2.py, but for fc
    "$C" ls $net.sft | grep -v num_batches |
        sed -e '/^layer/!s/^/stem./' -e 's/^stem\.fc/linear/' \
            -e 's/^layer4/res5/;s/^layer3/res4/;s/^layer2/res3/;s/^layer1/res2/' \
            -e 's/bn\([123]\)/conv\1.norm/' \
            -e 's/downsample\.0/shortcut/;s/downsample\.1/shortcut.norm/' |
        sort > want
    "$C" ls $net.d2 | sort > got
    is "$(cat got)" "$(cat want)" 'the names of its own tool'
    expect_status 0 'and back' \
        "$C" convert --from detectron2 --to torchvision -o $net.back $net.d2
    "$C" diff $net.back $net.sft > out 2> err
    is "$(grep -v 'num_batches_tracked.*only in' out)" '' 'the same numbers'
    expect_status 0 'with a prefix' \
        "$C" convert --prefix backbone.bottom_up. -o $net.pre $net.sft
    is "$("$C" ls $net.pre | grep -vc '^backbone\.bottom_up\.')" 0 'before all'
    expect_status 0 'which is taken away' \
        "$C" convert --from detectron2 --to timm -o again $net.pre
    expect_status 0 'the same again' "$C" diff again $net.back
done
expect_status 0 'a converted model predicts' sh -c "
    '$BIN/imgsynth' imagenet made-up --classes 5 --train 1 --val 1 \
        --size-min 40 --size-max 40 >/dev/null 2>&1 &&
    '$BIN/imgshard' pack -q --split val -o shards made-up/val >/dev/null 2>&1 &&
    '$BIN/imgshard' feed shards/val.json --eval INPUT.SIZE 32 SOLVER.BATCH 5 \
        2>/dev/null >val.sft &&
    for m in resnet18.back resnet18.sft; do
        '$BIN/accel-worker' predict -q -e ref -w \$m MODEL.NAME resnet18 \
            MODEL.WIDTH 8 INPUT.SIZE 32 SOLVER.BATCH 5 <val.sft >\$m.pred || exit
    done"
same resnet18.back.pred resnet18.sft.pred 'the same logits'
expect_status 65 'tensors without a counterpart' "$C" convert --from detectron2 \
    --to torchvision -o x resnet18.sft
like "$(cat err)" '[0-9]+ of [0-9]+ tensors have no names in torchvision, as [a-z]' 'counted'
one_line err 'in one line'
expect_status 65 'with -v' "$C" convert -v --from detectron2 --to torchvision \
    -o x resnet18.sft
like "$(sed -n 1p err)" '^ckpt-merge: .*: no counterpart in torchvision$' 'all are named'
expect_status 0 'allowed' "$C" convert --from detectron2 --to torchvision \
    --allow '*' -o kept resnet18.sft
expect_status 0 'kept as they are' "$C" diff kept resnet18.sft
expect_status 65 'others are not' "$C" convert --from detectron2 --to torchvision \
    --allow 'layer*' -o x resnet18.sft
expect_status 64 'names nobody knows' "$C" convert --to keras -o x resnet18.sft
expect_status 65 'no average' "$C" convert --ema -o x run
[ ! -e x ]
ok $? 'nothing was written'
done_testing
