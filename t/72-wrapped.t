#!/bin/sh
# ckpt-merge: what other programs put around a model: names before its names, and
# directories.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
C=$BIN/ckpt-merge

"$BIN/accel-worker" init -q -e ref -o bare.sft MODEL.NAME resnet18 MODEL.WIDTH 8 MODEL.CLASSES 5
# wrap FILE PREFIX: bare.sft with names that begin so
wrap() { "$C" convert --to timm --prefix "$2" -o "$1" bare.sft; }

# ---- names

for p in module. _orig_mod. module._orig_mod. _orig_mod.module. model. \
    model._orig_mod. module.model. net.encoder.; do
    wrap wrapped.sft $p
    expect_status 0 "$p before all names" "$C" -o x.sft wrapped.sft
    expect_status 0 'goes' "$C" diff x.sft bare.sft
    expect_status 0 'in convert, too' "$C" convert -o x.d2 wrapped.sft
done
"$C" convert -o bare.d2 bare.sft
expect_status 0 'which finds the names' "$C" diff x.d2 bare.d2
wrap wrapped.sft model.
"$C" convert --to timm --prefix other. -o other.sft bare.sft
expect_status 0 'two models' "$C" -o two.sft wrapped.sft other.sft
is "$("$C" ls two.sft | cut -d . -f 1 | sort -u | tr '\n' ' ')" 'model other ' \
    'keep their names'
wrap module.sft module.
expect_status 0 'all of a file' "$C" --all -o x.sft module.sft
expect_status 0 'is all of it' "$C" diff x.sft module.sft
"$BIN/t/70-ckpt.t" make run 8 1
"$C" -o small.sft run
expect_status 0 'others stay as they are' "$C" -o x.sft small.sft
same x.sft small.sft 'bit for bit'
expect_status 0 'the worker' sh -c "'$BIN/imgsynth' imagenet made-up --classes 5 --train 1 \
    --val 1 --size-min 40 --size-max 40 >/dev/null 2>&1 &&
    '$BIN/imgshard' pack -q --split val -o shards made-up/val >/dev/null 2>&1 &&
    '$BIN/imgshard' feed shards/val.json --eval INPUT.SIZE 32 SOLVER.BATCH 5 \
        2>/dev/null >val.frames"
expect_status 65 'given other names' from val.frames "$BIN/accel-worker" predict -q \
    -e ref -w wrapped.sft MODEL.NAME resnet18 MODEL.WIDTH 8 INPUT.SIZE 32 SOLVER.BATCH 5
like "$(cat err)" \
    'none of its 122 tensors, as "model\.[a-z0-9._]*", is of the model: ckpt-merge knows' 'says what helps'
one_line err 'in one line'

# ---- directories

mkdir saved
cp bare.sft saved/model.safetensors
echo x > saved/optimizer.bin
expect_status 0 'a directory of Accelerate' "$C" -o x.sft saved
expect_status 0 'is the model' "$C" diff x.sft bare.sft
expect_status 65 'which the worker does not read' from val.frames "$BIN/accel-worker" \
    predict -q -e ref -w saved MODEL.NAME resnet18 INPUT.SIZE 32 SOLVER.BATCH 5
is "$(cat err)" 'accel-worker: saved: not the directory of a step: ckpt-merge -o model.safetensors makes a model file of a run, or of what Accelerate saved' \
    'but says what does'
for c in ls verify 'diff saved' 'average saved' strip cast 'convert --to timm'; do
    # shellcheck disable=SC2086
    "$C" $c saved > out 2> err
    is $? 0 "$c of it"
done
expect_status 64 'has no steps' "$C" best saved
expect_status 64 'nor newest one' "$C" ls --newest saved
expect_status 64 'nor shares' "$C" reshard -o r saved
touch saved/metrics.jsonl
expect_status 66 'a run that has lost its checkpoints is none' "$C" -o x.sft saved

mkdir parts
wrap parts/model-00001-of-00002.safetensors a.
wrap parts/model-00002-of-00002.safetensors b.
# index: which file has what
index() {
    for n in 1 2; do
        f=model-0000$n-of-00002.safetensors
        "$C" ls --json parts/$f | jq -c --arg f $f '{(.name): $f}'
    done | jq -s '{metadata: {}, weight_map: add}' > parts/model.safetensors.index.json
}
index
expect_status 0 'a directory of parts' "$C" -o x.sft parts
"$C" -o want.sft parts/*.safetensors
same x.sft want.sft 'has them all'
expect_status 0 'verified' "$C" verify parts
is "$(wc -l < out | tr -d ' ')" 2 'each'
printf x | dd of=parts/model-00002-of-00002.safetensors bs=1 seek=20000 conv=notrunc 2> dd.err
expect_status 65 'a damaged one' "$C" verify parts
wrap parts/model-00002-of-00002.safetensors b.
edit() {
    index
    jq "$2" parts/model.safetensors.index.json > new
    mv new parts/model.safetensors.index.json
    expect_status "${4:-65}" "$1" "$C" -o x parts
    like "$(cat err)" "$3" 'told'
    one_line err 'in one line'
}
edit 'a tensor that is not there' '.weight_map["b.more"] = "model-00002-of-00002.safetensors"' \
    'index.json: tensor "b.more": in none of its 2 files$'
edit 'a part that is not there' '.weight_map["b.more"] = "model-3.safetensors"' \
    'model-3.safetensors: open: No such file' 66
edit 'a part elsewhere' '.weight_map["b.more"] = "../bare.sft"' \
    'tensor "b.more": not the name of a file beside it$'
edit 'a part without a name' '.weight_map["b.more"] = 3' \
    'tensor "b.more": not the name of a file beside it$'
edit 'no parts' '.weight_map = {}' 'index.json: no tensors in it$'
edit 'no map' 'del(.weight_map)' 'index.json: .*weight_map'
[ ! -e x ]
ok $? 'nothing was written'
mkdir old
cp "$TOP/t/fuzz/corpus/foreign/zip.pth" old/pytorch_model.bin
expect_status 0 'of torch.save' "$C" -o x.sft old
"$C" -o want.sft old/pytorch_model.bin
same x.sft want.sft 'the same'
mkdir older
cp "$TOP/t/fuzz/corpus/foreign/people.pth" older/pytorch_model-00001-of-00002.bin
cp "$TOP/t/fuzz/corpus/foreign/tar.pth" older/pytorch_model-00002-of-00002.bin
echo '{"weight_map": {"model.w": "pytorch_model-00001-of-00002.bin",
    "n": "pytorch_model-00002-of-00002.bin", "w": "pytorch_model-00002-of-00002.bin"}}' \
    > older/pytorch_model.bin.index.json
for n in 1 2; do
    "$C" --all -o older$n.sft older/pytorch_model-0000$n-of-00002.bin
done
expect_status 0 'in parts' "$C" --all -o x.sft older
"$C" --all -o want.sft older1.sft older2.sft
is "$("$C" ls want.sft | wc -l | tr -d ' ')" 4 'of both'
expect_status 0 'has them all' "$C" diff x.sft want.sft
expect_status 0 'the key counts in any of them' "$C" -o x.sft older
is "$("$C" ls x.sft | cut -f 1)" w 'the model'
expect_status 0 'verified' "$C" verify older
is "$(wc -l < out | tr -d ' ')" 2 'each'
cp older/pytorch_model-00001-of-00002.bin older/pytorch_model-00002-of-00002.bin
expect_status 65 'one twice' "$C" -o x older
like "$(cat err)" '00002.bin: tensor "model.w": in older/.*00001-of-00002.bin, too$' 'told'
cp x.sft older/pytorch_model-00002-of-00002.bin
expect_status 65 'of two kinds' "$C" -o x older
one_line err 'in one line'
done_testing
