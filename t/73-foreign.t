#!/bin/sh
# ckpt-merge: files of PyTorch 2.15 and numpy 2 (t/fuzz/corpus/foreign, made by
# them; the oldest format by hand), which t/peer/70-foreign.t makes anew.
TOP=${TOP:-$(dirname "$0")/..}
. "$TOP/t/lib/tap.sh"
C=$BIN/ckpt-merge
F=$(cd "$TOP/t/fuzz/corpus/foreign" && pwd)

# data FILE: what is behind the header of a joined file
data() {
    n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    tail -c +$((n + 9)) "$1"
}

# ---- the same tensors in three boxes

for f in zip stream; do
    expect_status 0 "$f: ls" "$C" ls "$F/$f.pth"
    is "$(cat out)" 'state_dict.module.w	F32 [2,3]
state_dict.module.turned	F32 [3,2]
state_dict.module.half	F16 [2]
state_dict.module.bf	BF16 [1]
state_dict.module.n	I64 []
state_dict.module.ok	BOOL [2]
optimizer.state.0.buf	F32 [2]' 'names, types and shapes'
    expect_status 0 "$f: the model" "$C" -o $f.st "$F/$f.pth"
    is "$("$C" ls $f.st | cut -f 1 | tr '\n' ' ')" 'n turned w bf half ok ' \
        'has bare names'
    # n; turned; w; bf, half; ok
    is "$(data $f.st | od -An -td8 -N8 | tr -d ' ')" 7 'a number'
    is "$(data $f.st | tail -c +9 | od -An -tf4 -N24 -w24 | tr -s ' ')" \
        ' 0.5 3.5 1.5 4.5 2.5 5.5' 'a view is turned'
    is "$(data $f.st | tail -c +33 | od -An -tf4 -N24 -w24 | tr -s ' ')" \
        ' 0.5 1.5 2.5 3.5 4.5 5.5' 'what it is a view of is not'
    is "$(data $f.st | tail -c +57 | od -An -tx2 -N6 | tr -s ' ')" \
        ' 4040 3e00 c000' 'sixteen bits'
    is "$(data $f.st | tail -c 2 | od -An -tx1)" ' 01 00' 'and eight'
done
same zip.st stream.st 'the same of both'
expect_status 0 'which diff finds, too' "$C" diff "$F/zip.pth" "$F/stream.pth"
expect_status 0 'and beside its model' "$C" diff "$F/zip.pth" zip.st
expect_status 0 'verify a zip' "$C" verify "$F/zip.pth"
like "$(cat out)" 'ok: 7 tensors, 72 bytes, checksum$' 'by its check sums'
expect_status 0 'verify a stream' "$C" verify "$F/stream.pth"
like "$(cat out)" 'ok: 7 tensors, 72 bytes, no checksum inside$' 'which has none'
expect_status 0 'the oldest' "$C" -o tar.st "$F/tar.pth"
is "$(data tar.st | od -An -td8 -N16 | tr -s ' ')" ' 7 8' 'its numbers'
is "$(data tar.st | tail -c +17 | od -An -tf4 | tr -s ' ')" ' 3.5 4.5' \
    'a view of a part of a storage'
expect_status 65 'no average' "$C" --ema -o x "$F/zip.pth"
like "$(cat err)" 'no average of the weights in it' 'is there'
expect_status 0 'an average' "$C" --ema -o ema.st "$F/ema.pth"
is "$("$C" ls ema.st)" 'w	F32 [2]' 'without its counter'
is "$(data ema.st | od -An -tf4 | tr -s ' ')" ' 1.5 2.5' 'is not the weights'
expect_status 0 'which are there, too' "$C" -o ema.st "$F/ema.pth"
is "$(data ema.st | od -An -tf4 | tr -s ' ')" ' 0.5 1' 'beside it'
expect_status 64 'two of them' "$C" -o x "$F/zip.pth" "$F/stream.pth"
like "$(cat err)" 'a file of torch.save stands alone' 'are not joined'
one_line err 'one line'

# ---- arrays

for p in 2 4 5; do
    expect_status 0 "protocol $p" "$C" -o arrays$p.st "$F/arrays$p.pkl"
done
same arrays2.st arrays4.st 'two ways to write bytes'
same arrays2.st arrays5.st 'and a third'
is "$("$C" ls arrays2.st | tr '\t\n' ' ;')" \
    'fc1000_b I64 [3];res_conv1_bn_s F64 [2];conv1_w F32 [2,2];res2_0_branch2a_w F32 [2,3];' \
    'the model'
is "$(data arrays2.st | tail -c +25 | od -An -tf8 -N16 | tr -s ' ')" ' 1.5 -2' \
    'the highest byte first'
is "$(data arrays2.st | tail -c 24 | od -An -tf4 -w24 | tr -s ' ')" \
    ' 0 1 2 3 4 5' 'columns first'
expect_status 0 'names of Caffe2' "$C" convert --from msra -o d2.st "$F/arrays2.pkl"
is "$("$C" ls d2.st | cut -f 1 | tr '\n' ' ')" \
    'linear.bias stem.conv1.norm.weight res2.0.conv1.weight stem.conv1.weight ' \
    'as those of Detectron2'
expect_status 0 'or torchvision' "$C" convert --from msra --to torchvision -o tv.st "$F/arrays2.pkl"
is "$("$C" ls tv.st | cut -f 1 | tr '\n' ' ')" \
    'bn1.weight fc.bias conv1.weight layer1.0.conv1.weight ' 'in its names'

# ---- what else people put beside their weights: schedules, paths, sets, dates
expect_status 0 'a checkpoint with all sorts of values' "$C" ls "$F/people.pth"
is "$(cat out)" 'model.w	F32 [2]
state.v	F32 [1]' 'has its tensors'
expect_status 0 'its model' "$C" -o people.st "$F/people.pth"
is "$(data people.st | od -An -tf4 | tr -s ' ')" ' 0.5 -1.5' 'is read'

# ---- what is refused

expect_status 65 'a view that turns signs' "$C" -o x "$F/neg.pth"
like "$(cat err)" 'neg.pth: tensor "w": a view that negates: not read$' 'is told'

expect_status 65 'a pickle with code' "$C" -o x "$F/evil.pkl"
like "$(cat err)" 'evil.pkl: offset 200: asks for posix.system, which no tensor needs: not read' \
    'is told'
one_line err 'in one line'
[ ! -e x ] && [ ! -e evil ]
ok $? 'and neither run nor written'
for n in 4 100 700 1100 2600; do
    for f in zip stream tar; do
        head -c $n "$F/$f.pth" > cut.pth
        [ "$(wc -c < cut.pth)" = "$(wc -c < "$F/$f.pth")" ] ||
            expect_status 65 "$f: $n bytes of it" "$C" -o x cut.pth
    done
done
# 0.5 and 1.5, the first elements of a storage
cp "$F/zip.pth" flip.pth
chmod u+w flip.pth
at=$(LC_ALL=C grep -abo -P '\x00\x00\x00\x3f\x00\x00\xc0\x3f' flip.pth | head -n 1 | cut -d : -f 1)
printf 'Z' | dd of=flip.pth bs=1 seek="$at" conv=notrunc 2> dd.err
expect_status 65 'a byte changed' "$C" verify flip.pth
like "$(cat err)" 'zip/data/0: CRC error' 'is seen'
done_testing
