#!/bin/sh
# ckpt-merge: join, verify, ls, diff; what is refused.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
C=$BIN/ckpt-merge
make_step() { "$BIN/t/70-ckpt.t" make "$@"; }

make_step run 8 2
make_step run 16 3
make_step run 24 1
mkdir run/ckpt/.step-000000032.tmp

# ---- limits of the process

make_step many 8 12
# shellcheck disable=SC2039,SC3045,SC2016
expect_status 71 'too few descriptors' sh -c 'ulimit -n 9; "$0" -o x many' "$C"
like "$(cat err)" '^ckpt-merge: many/.*: open: Too many open files$' 'no damage of the file'
# shellcheck disable=SC2039,SC3045,SC2016
expect_status 74 'files may not be as large' sh -c 'ulimit -f 1; "$0" -o x many' "$C"
like "$(cat err)" '^ckpt-merge: x: write: File too large$' 'is told'
is "$(find . -name '*x*.tmp' -o -name x)" '' 'and nothing is left'

# ---- join

expect_status 0 'join the newest of a run' "$C" -o m.safetensors run
is "$(cat out)$(cat err)" '' 'silent'
expect_status 0 'from the directory of checkpoints' "$C" -o n.safetensors run/ckpt
same m.safetensors n.safetensors 'the same file'
expect_status 0 'a step, to a pipe' \
    to_pipe n.safetensors "$C" run/ckpt/step-000000024
same m.safetensors n.safetensors 'the same file'
expect_status 0 'to - and with a slash behind' \
    to n.safetensors "$C" -o - run/ckpt/step-000000024/
same m.safetensors n.safetensors 'the same file'
expect_status 0 'its tensors' "$C" ls m.safetensors
is "$(cat out)" 'bn1.num_batches_tracked	I64 []
bn1.bias	F32 [5]
conv1.weight	F32 [2,3,2,2]
fc.empty	F32 [0]
fc.weight	F32 [2,5]' 'no momentum'
for pair in '"format":"pt"' '"model":"resnet18"' '"classes":"2"' \
    '"accel.step":"24"' '"accel.samples":"192"' \
    '"accel.recipe":"0123456789abcdef0123456789abcdef"'; do
    head -c 4096 m.safetensors | grep -aqF "$pair"
    ok $? "metadata $pair"
done
expect_status 0 'with momentum' "$C" --all -o all.safetensors run
is "$("$C" ls all.safetensors | grep -c '^momentum')" 2 'is in it'

# the number of ranks is no part of a model
make_step one 16 1
expect_status 0 'step 16 of 3 ranks' "$C" -o three.sft run/ckpt/step-000000016
expect_status 0 'step 16 of 1 rank' "$C" -o one.sft one
same three.sft one.sft 'the same bytes'

step=run/ckpt/step-000000016
expect_status 0 'the rank files of a step' "$C" -o ranks.sft "$step"/rank-*
expect_status 0 'have the same tensors' "$C" diff ranks.sft three.sft
expect_status 65 'one rank file too few' "$C" -o x "$step"/rank-0000[01]*
one_line err 'one line'
expect_status 65 'files with a tensor in common' "$C" -o x one.sft three.sft
like "$(cat err)" 'in one.sft, too' 'named'
expect_status 64 'two directories' "$C" -o x run one
expect_status 64 'no operand' "$C" -o x
expect_status 64 'an option that is not there' "$C" --out x run
expect_status 66 'a directory that is not there' "$C" -o x nothing
one_line err 'one line'
echo 'no tensors here' >text
expect_status 65 'a file of something else' "$C" -o x text
like "$(cat err)" '^ckpt-merge: text: not a safetensors file: ' 'is named so'
one_line err 'one line'
mkdir fresh
expect_status 66 'a run without checkpoints' "$C" -o x fresh
like "$(cat err)" 'fresh: no committed checkpoint' 'says so'
expect_status 73 'an output that cannot be made' "$C" -o none/x run
one_line err 'one line'
expect_status 73 'a directory as output' "$C" -o fresh run
expect_status 74 'closed stdout' to_closed "$C" run
one_line err 'one line'
if [ -w /dev/full ]; then
    expect_status 74 'full disk' to /dev/full "$C" run
    one_line err 'one line'
else
    skip 2 'no /dev/full'
fi
[ ! -e x ]
ok $? 'nothing was left of failures'
is "$(find . -name '.*.tmp' ! -name '.step-*')" '' 'nor a temporary'
if script -qec true /dev/null >/dev/null 2>&1; then
    expect_status 64 'a terminal gets no tensors' \
        script -qec "$C run" /dev/null
else
    skip 1 'no script(1)'
fi

# ---- average and cast

expect_status 0 'the mean of one model' "$C" average -o a.sft one.sft
expect_status 0 'is it' "$C" diff a.sft one.sft
expect_status 0 'the mean of a model and itself, thrice' \
    "$C" average -o a.sft one.sft three.sft run/ckpt/step-000000016
expect_status 0 'is it, too' "$C" diff a.sft one.sft
expect_status 0 'the mean of two steps' \
    "$C" average -o a.sft run/ckpt/step-000000008 run/ckpt/step-000000024
expect_status 0 'the other way around' \
    "$C" average -o b.sft run/ckpt/step-000000024 run/ckpt/step-000000008
expect_status 0 'the same' "$C" diff a.sft b.sft
expect_status 1 'it is neither' "$C" diff a.sft m.safetensors
is "$("$C" ls a.sft)" "$("$C" ls m.safetensors)" 'of the same shape'
expect_status 0 'in bf16' "$C" cast -o half.sft m.safetensors
is "$("$C" ls half.sft | head -n 3)" 'bn1.num_batches_tracked	I64 []
bn1.bias	BF16 [5]
conv1.weight	BF16 [2,3,2,2]' 'counters stay'
expect_status 65 'models of several precisions' \
    "$C" average -o x m.safetensors half.sft
like "$(cat err)" 'half.sft: .*: another dtype or shape' 'named'
expect_status 0 'back to fp32' "$C" cast --to fp32 -o back.sft half.sft
expect_status 0 'and to bf16' "$C" cast -o again.sft back.sft
expect_status 0 'loses nothing' "$C" diff half.sft again.sft
expect_status 0 'fp64' "$C" cast --to fp64 -o wide.sft run
expect_status 0 'and back' "$C" cast --to fp32 -o back.sft wide.sft
expect_status 0 'is exact' "$C" diff back.sft m.safetensors
expect_status 64 'a precision that is not there' "$C" cast --to fp8 -o x run
expect_status 66 'a model that is not there' "$C" average -o x run nothing
expect_status 65 'models of different tensors' \
    "$C" average -o x m.safetensors "$step"/rank-00000*
one_line err 'one line'
make_step big 8 1 1e6
expect_status 65 'too large for fp16' "$C" cast --to fp16 -o x big
like "$(cat err)" 'big: .*: element [0-9]+: .* is too large for F16' 'named'
[ ! -e x ]
ok $? 'nothing was left of failures'

# ---- ls

expect_status 0 'the steps of a run' "$C" ls run
is "$(cut -f 1,2,4,6 out)" 'step 8	samples 64	world 2
step 16	samples 128	world 3
step 24	samples 192	world 1	newest' 'ascending, the newest marked'
expect_status 0 'as JSON' "$C" ls --json run
is "$(sed -n 3p out | sed 's/"bytes":[0-9]*,//')" '{"epoch":2,"newest":true,"path":"run/ckpt/step-000000024","samples":192,"step":24,"world":1}' \
    'one object a line'
expect_status 0 'the newest' "$C" ls --newest run
is "$(cat out)" run/ckpt/step-000000024 'its path'
expect_status 0 'of the directory of checkpoints' "$C" ls --newest run/ckpt
expect_status 66 'of a fresh run' "$C" ls --newest fresh
expect_status 66 'of nothing' "$C" ls --newest nothing
expect_status 66 'the steps of a fresh run' "$C" ls fresh
expect_status 64 'of a step' "$C" ls --newest run/ckpt/step-000000008
expect_status 0 'tensors of a step' "$C" ls run/ckpt/step-000000008
is "$(sed -n 1p out)" 'conv1.weight	F32 [2,3,2,2]' 'in the order of the model'
expect_status 0 'tensors as JSON' "$C" ls --json m.safetensors
is "$(sed -n 3p out)" \
    '{"bytes":96,"dtype":"F32","name":"conv1.weight","shape":[2,3,2,2]}' \
    'one object a line'

# odd FILE BYTE: a tensor whose name a terminal would obey
odd() {
    name='{"a\nb\u001b[31m\u009b\u732b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    printf "\\$(printf %03o ${#name})\\0\\0\\0\\0\\0\\0\\0%s%s" "$name" "$2" >"$1"
}
line=$(printf 'new\nline.sft')
odd odd.sft A
odd "$line" B
expect_status 0 'an odd name' "$C" ls odd.sft
is "$(cat out)" "$(printf 'a?b?[31m??\347\214\253\tU8 [1]')" 'is one line of plain characters'
expect_status 0 'as JSON' "$C" ls --json odd.sft
is "$(jq -r .name out)" "$(printf 'a\nb\033[31m\302\233\347\214\253')" 'it is what it is'
expect_status 1 'two of them' "$C" diff odd.sft "$line"
is "$(cat out)" "$(printf 'a?b?[31m??\347\214\253\tdiffers\tmax 1, 1 of 1 elements, first 0')" 'in one line'
expect_status 1 'beside another' "$C" diff "$line" m.safetensors
is "$(head -n 1 out)" "$(printf 'a?b?[31m??\347\214\253\tonly in new?line.sft')" 'and so are names of files'
expect_status 0 'verified' "$C" verify "$line"
is "$(cat out)" 'new?line.sft: ok: 1 tensors, 1 bytes, no checksum inside' 'in one line, too'

# ---- diff

expect_status 0 'a file and its checkpoint' "$C" diff m.safetensors run
is "$(cat out)" '' 'are equal'
make_step other 24 2 1.5
expect_status 1 'other numbers' "$C" diff run other
is "$(cut -f 1,2 out)" 'conv1.weight	differs
bn1.bias	differs
fc.weight	differs
momentum.conv1.weight	differs
momentum.fc.weight	differs' 'the tensors are named'
like "$(sed -n 2p out)" 'max 64, 5 of 5 elements, first 0' 'with a measure'
expect_status 1 'quietly' "$C" diff -q run other
is "$(cat out)$(cat err)" '' 'by the status alone'
expect_status 66 'one that is not there' "$C" diff run nothing
expect_status 64 'one operand' "$C" diff run

# ---- verify

expect_status 0 'verify a run' "$C" verify run
is "$(sed 's/,.*//' out)" 'run/ckpt/step-000000008: ok: step 8
run/ckpt/step-000000016: ok: step 16
run/ckpt/step-000000024: ok: step 24' 'a line for each step'
expect_status 0 'verify files' "$C" verify m.safetensors all.safetensors
like "$(sed -n 1p out)" '^m.safetensors: ok: 5 tensors, 164 bytes, checksum' \
    'a line each'

# damaged WHAT PATTERN: verify refuses the run bad/
damaged() {
    expect_status 65 "$1: verify" "$C" verify bad
    one_line err "$1: one line"
    like "$(cat err)" "$2" "$1: the reason"
}
fresh_copy() {
    rm -rf bad
    mkdir bad
    cp -R one/ckpt bad/ckpt
}
f=bad/ckpt/step-000000016/rank-00000-of-00001.safetensors
fresh_copy
printf 'x' | dd of=$f bs=1 seek=4100 conv=notrunc 2>dd.err
damaged 'a changed byte' 'CRC-32'
for how in '-o x bad' "-o x $f" 'average -o x bad' 'cast -o x bad' \
    'reshard -o sharded bad' 'convert -o x bad'; do
    # shellcheck disable=SC2086
    expect_status 65 "a changed byte: ${how% -o*}" "$C" $how
    like "$(cat err)" "^ckpt-merge: $f: CRC-32" 'says so'
done
expect_status 65 'a changed byte: average, the second' "$C" average -o x one bad
[ ! -e x ] && [ ! -e sharded ]
ok $? 'nothing is made of it'
fresh_copy
head -c 4200 "one${f#bad}" >$f
damaged 'a short file' 'truncated'
expect_status 65 'a short file: join' "$C" -o x bad
expect_status 65 'a short file: ls' "$C" ls bad/ckpt/step-000000016
expect_status 65 'a short file: diff' "$C" diff bad one
fresh_copy
rm $f
damaged 'a missing rank' 'rank-00000-of-00001'
expect_status 65 'a missing rank: join' "$C" -o x bad
one_line err 'one line'
fresh_copy
rm bad/ckpt/step-000000016/state.json
damaged 'a missing state' 'state.json'
expect_status 65 'a missing state: the step itself' \
    "$C" verify bad/ckpt/step-000000016
expect_status 65 'a missing state: ls' "$C" ls bad
fresh_copy
sed 's/"samples":128/"samples":129/' one/ckpt/step-000000016/state.json \
    >bad/ckpt/step-000000016/state.json
damaged 'a changed state' 'CRC-32'
cp m.safetensors bad.sft
chmod u+w bad.sft
printf 'x' | dd of=bad.sft bs=1 seek=4100 conv=notrunc 2>dd.err
expect_status 65 'a changed model file' "$C" verify bad.sft m.safetensors nothing
like "$(cat err)" 'bad.sft: accel.sha256: expected' 'the reason'
like "$(cat out)" '^m.safetensors: ok' 'the others are verified, too'
expect_status 66 'nothing to verify' "$C" verify nothing m.safetensors
expect_status 66 'verify a fresh run' "$C" verify fresh
printf 'GIF89a and so on' >gif
expect_status 65 'another kind of file' "$C" verify gif
expect_status 65 'another kind of file: join' "$C" -o x gif
[ ! -e x ]
ok $? 'nothing was written'

if have_data safetensors; then
    for g in "$DATA"/valid/*.safetensors; do
        expect_status 0 "ls ${g##*/}" "$C" ls "$g"
    done
    n=0
    for g in "$DATA"/invalid/*; do
        "$C" verify "$g" >out 2>err
        if [ $? -ne 65 ] || [ "$(wc -l <err)" -ne 1 ]; then
            n=$((n + 1))
            tap_comment "$g: $(cat err)"
        fi
    done
    is $n 0 'each invalid file is refused with one line and 65'
else
    skip 1 'data: safetensors is not here'
fi
done_testing
