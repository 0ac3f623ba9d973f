#!/bin/sh
# imgsynth; imgshard decode, feed and bench: equal bytes, ends, refusals.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
. "$TOP/t/lib/frames.sh"
. "$TOP/t/lib/procs.sh"

I=$BIN/imgshard
SET='INPUT.SIZE 32 SOLVER.BATCH 12'

# Metadata of the frames in a file, one line each.
heads() {
	grep -ao '{"__metadata__":{[^}]*}' "$1" | sed 's/{"__metadata__"://'
}

# ---- imgsynth
expect_status 0 'imgsynth' "$BIN/imgsynth" imagenet made --classes 3 \
	--train 15 --val 7 --size-min 30 --size-max 60 -t 1
is "$(cat out err)" '' 'says nothing'
expect_status 0 'again, 3 threads' "$BIN/imgsynth" imagenet made2 --classes 3 \
	--train 15 --val 7 --size-min 30 --size-max 60 -t 3
expect_status 0 'the same bytes' diff -r made made2
expect_status 0 'another seed' "$BIN/imgsynth" imagenet made3 --classes 3 \
	--train 15 --val 7 --size-min 30 --size-max 60 -s 1
same made/README made2/README 'README'
like "$(cat made/README)" 'made up' 'which says what it is'
cmp -s made/train/c00-striped-disc/c00-striped-disc_00000.jpg \
	made3/train/c00-striped-disc/c00-striped-disc_00000.jpg
is $? 1 'makes other pictures'
is "$(find made -name '*.jpg' -exec cksum {} + | cut -d' ' -f1,2 | sort -u | wc -l)" \
	66 'all pictures differ'
expect_status 73 'a folder that is there' "$BIN/imgsynth" imagenet made
one_line err 'one line'
mkdir other && touch other/file
expect_status 73 'another folder is never replaced' "$BIN/imgsynth" imagenet \
	-f other
expect_status 0 'its own is' "$BIN/imgsynth" imagenet -f made3 --classes 1 \
	--train 1 --val 0 --size-min 20 --size-max 20
is "$(find made3 -name '*.jpg' | wc -l)" 1 'by what was asked for'
expect_status 64 'sizes' "$BIN/imgsynth" imagenet x --size-min 50 --size-max 40
is "$(echo *.tmp)" '*.tmp' 'nothing is left behind'

expect_status 0 'pack train' "$I" pack -o sh made/train
expect_status 0 'pack val' "$I" pack -o sh --split val \
	--classes sh/train.json made/val

# ---- feed
# shellcheck disable=SC2086
feed() {
	"$I" feed "$@" $SET
}
feed sh/train.json --epochs 2 -t 1 >one
is $? 0 'feed'
feed sh/train.json --epochs 2 -t 3 --queue 2 >three
feed sh/train.json --epochs 2 -t 8 --queue 7 >eight
same one three '1 and 3 threads'
same one eight '1 and 8 threads'
heads one >h
is "$(grep -c '"t":"batch"' h)" 8 'batches of two epochs'
is "$(grep -c '"t":"epoch"' h)" 4 'epochs begin and end'
like "$(head -n 1 h)" '"accum":"1","classes":"3","dataset":"[0-9a-f]{32}","global":"12","input":"INPUT.SIZE=32;[^"]*SEED=0;","micro":"12","proto":"1.0","rank":"0","role":"feed","samples":"45","seed":"0","seq":"0","sft":"1","size":"32","split":"train","start":"0","t":"hello","tail":"wrap","task":"classification","world":"1"' \
	'hello'
like "$(grep '"t":"batch"' h | sed -n 4p)" '"bad":"0","epoch":"0","last":"1","m":"0","n":"12","order":"global","pos":"36","rows":"12","samples":"48",.*"step":"3"' \
	'the last batch of an epoch wraps'
like "$(tail -n 1 h)" '"frames":"13","rows":"96","seq":"13","sft":"1","t":"end"' \
	'end'
feed sh/train.json --epochs 2 SEED 1 >seed
cmp -s one seed
is $? 1 'another seed'
feed sh/train.json --epochs 1-1 -t 2 >second
heads second >h
like "$(head -n 1 h)" '"start":"48"' 'the second epoch alone'
is "$(tail -c 10000 second | head -c 9000 | cksum)" \
	"$(tail -c 10000 one | head -c 9000 | cksum)" 'has its pixels'

# ranks: the same rows, dealt out
feed sh/train.json --epochs 1 --world 2 --rank 0 SOLVER.TAIL exact >r0
RANK=1 WORLD_SIZE=2 feed sh/train.json --epochs 1 SOLVER.TAIL exact >r1
heads r0 | grep '"t":"batch"' | sed 's/.*"n":"\([0-9]*\)".*"pos":"\([0-9]*\)","rows":"\([0-9]*\)".*/\1@\2 of \3/' >h
is "$(tr '\n' ' ' <h)" '6@0 of 12 6@12 of 12 6@24 of 12 5@36 of 9 ' 'rank 0'
heads r1 | grep '"t":"batch"' | sed 's/.*"n":"\([0-9]*\)".*"pos":"\([0-9]*\)","rows":"\([0-9]*\)".*/\1@\2 of \3/' >h
is "$(tr '\n' ' ' <h)" '6@6 of 12 6@18 of 12 6@30 of 12 4@41 of 9 ' \
	'rank 1, from the environment'

feed sh/val.json --eval >evaluated
is $? 0 'evaluation'
heads evaluated >h
is "$(grep -c '"t":"batch"' h)" 2 'is one epoch'
like "$(tail -n 1 h)" '"rows":"21"' 'with every sample once'
like "$(sed -n 3p h)" '"order":"seq"' 'in the order of the shards'
# a batch that 5 ranks do not divide
for r in 0 1 2 3 4; do
	feed sh/val.json --eval --world 5 --rank $r >f || echo "status $?"
	heads f | grep '"t":"batch"' | sed 's/.*"n":"\([0-9]*\)".*"pos":"\([0-9]*\)","rows":"\([0-9]*\)".*/\1@\2 of \3/'
done >h 2>&1
is "$(tr '\n' ' ' <h)" \
	'3@0 of 12 2@12 of 9 3@3 of 12 2@14 of 9 2@6 of 12 2@16 of 9 2@8 of 12 2@18 of 9 2@10 of 12 1@20 of 9 ' \
	'on any number of ranks'
feed sh/train.json --limit-steps 2 >limit
is "$(heads limit | grep -c '"t":"batch"')" 2 '--limit-steps'
feed sh/train.json --limit-steps 2 SOLVER.ACCUM 3 >limit
is "$(heads limit | grep -c '"t":"batch"')" 6 'counts steps, not micro-steps'

# ---- read | decode
# shellcheck disable=SC2086
decode() {
	"$I" decode "$@" $SET
}
"$I" read sh/train.json --epochs 2 SOLVER.BATCH 12 | decode -t 3 >piped
is $? 0 'read | decode'
frames whole one >a
frames whole piped >b
is "$(($(wc -c <a) > 8 * 12 * 32 * 32 * 3))" 1 'all batches'
same a b 'feed and read | decode make the same frames'
for order in seq block:4000:2:1; do
	feed sh/train.json --epochs 1 --order $order >f
	frames whole f >a
	"$I" read sh/train.json --epochs 1 --order $order SOLVER.BATCH 12 |
		decode >f
	frames whole f >b
	same a b "in $order order too"
done
feed sh/val.json --eval --world 5 --rank 1 >f
frames whole f >a
"$I" read sh/val.json --eval --world 5 --rank 1 SOLVER.BATCH 12 | decode --eval >f
is $? 0 'read | decode --eval'
frames whole f >b
same a b 'where ranks do not divide the batch, too'
"$I" read sh/val.json --eval SOLVER.BATCH 12 |
	perl -pe 's/global=12\n/global=13\n/' | decode --eval >f 2>err
is $? 65 'more than the ranks hold'
(cd made && tar --format=ustar -cf - val) >foreign.tar
decode --eval <foreign.tar >f
is $? 0 "somebody's tar"
like "$(heads f | tail -n 1)" '"rows":"21"' 'has all its rows'
"$I" read sh/train.json --epochs 1 SOLVER.BATCH 12 >s.tar
head -c 30000 s.tar >cut.tar
decode <cut.tar >f 2>err
is $? 65 'a tar that is cut off'
one_line err 'one line'
like "$(heads f | tail -n 1)" '"t":"error"' 'and an error frame'
head -c 1024 s.tar >cut.tar
decode <cut.tar >f 2>err
is $? 65 'cut off between samples'
like "$(cat err)" 'ends without its end' 'is seen too'

row=$((32 * 32 * 3))
frames pixels one >a
frames pixels r0 | head -c $((6 * row)) >b
head -c $((6 * row)) a >c
same b c 'rank 0 of 2 sees the first half of a batch of one rank'
frames pixels r1 | head -c $((6 * row)) >b
head -c $((12 * row)) a | tail -c $((6 * row)) >c
same b c 'rank 1 the second'

# ---- a bad image
cp -r sh bad
size=$(wc -c <bad/train-000000.tar)
off=$(grep -abo JFIF bad/train-000000.tar | sed -n 5p | cut -d: -f1)
printf 'XXXX' | dd of=bad/train-000000.tar bs=1 seek=$((off + 60)) \
	conv=notrunc 2>/dev/null
is "$(wc -c <bad/train-000000.tar)" "$size" 'one image is spoilt'
feed bad/train.json --epochs 1 >f 2>err
is $? 65 'it ends the stream'
like "$(cat err)" 'train-000000.tar: offset [0-9]+: c0[0-9]-.*: CRC-32' \
	'with shard, offset and key'
like "$(heads f | tail -n 1)" '"code":"data".*"t":"error"' 'downstream too'
feed bad/train.json --epochs 1 --verify never >f 2>err
like "$?$(cat err)" '^(0|65.*jpeg)' 'unchecked, the decoder judges'
feed bad/train.json --epochs 1 --on-bad replace >f 2>err
is $? 0 '--on-bad replace'
is "$(heads f | grep -c '"bad":"1"')" 1 'counts it'
like "$(heads f | tail -n 1)" '"rows":"48"' 'and loses no row'
one_line err 'one line'
like "$(cat err)" 'train-000000.tar: offset [0-9]+: c0[0-9]-.*CRC-32.*: replaced$' \
	'names it'
feed bad/train.json --epochs 1 --on-bad replace --max-bad 0 >f 2>err
is $? 65 '--max-bad'
like "$(tail -n 1 err)" 'epoch 0: more than 0 bad images' 'is the limit'
for n in 6 7; do
	off=$(grep -abo JFIF bad/train-000000.tar | sed -n ${n}p | cut -d: -f1)
	printf 'XXXX' | dd of=bad/train-000000.tar bs=1 seek=$((off + 60)) \
		conv=notrunc 2>/dev/null
done
feed bad/train.json --epochs 1 --on-bad replace --max-bad 2 >f 2>err
is $? 65 'three of them are more than two'
feed bad/train.json --epochs 2 --on-bad replace --max-bad 6 >f 2>err
is "$? $(sort -u err | grep -c ': replaced$')" '0 3' \
	'the tail of an epoch may have them twice'

# a marker within the data of the image: what is behind it is grey
mkdir warned
cp -r made/train/* warned
file=warned/c00-striped-disc/c00-striped-disc_00000.jpg
printf '\377\001' | dd of=$file bs=1 seek=$(($(wc -c <$file) - 200)) conv=notrunc 2>/dev/null
expect_status 0 'an image that the decoder warns of' "$I" pack -o warned.sh warned
feed warned.sh/train.json --epochs 1 >f 2>err
is "$?$(heads f | grep -c '"bad":"[1-9]')" 00 'is an image'
feed warned.sh/train.json --epochs 1 --strict >f 2>err
is $? 65 'but not with --strict'
like "$(cat err)" 'c00-striped-disc_00000: jpeg: Corrupt JPEG data' 'which says of what it warns'

# ---- ends
(feed sh/train.json; echo $? >status) | head -c 20000 >/dev/null
is "$(cat status)" 0 'a reader that goes away is no failure'
feed sh/train.json --epochs 1 >/dev/full 2>err
is $? 74 'a full disk is'
one_line err 'one line'
# shellcheck disable=SC2086
("$I" feed sh/train.json --epochs 1000000 $SET & echo $! >pid
wait $!; echo $? >status) |
	(head -c 20000; await test -s pid; kill -TERM "$(cat pid)"; cat) >f 2>err
is "$(cat status)" 143 'SIGTERM'
like "$(heads f | tail -n 1)" 'stopped by signal 15' 'is told downstream'
expect_status 66 'no such manifest' feed sh/none.json
like "$(heads out | tail -n 1)" '"t":"error"' 'an error frame even so'
expect_status 64 'a batch that does not divide' feed sh/train.json --world 5 --rank 0
expect_status 64 '--train --eval' feed sh/train.json --train --eval
if script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
	script -qec "$I feed sh/train.json $SET; echo =\$?" /dev/null >out </dev/null
	like "$(cat out)" '=64' 'a terminal is refused'
else
	skip 1 'script: no terminal to be had here'
fi

# ---- bench
# shellcheck disable=SC2086
expect_status 0 'bench' "$I" bench sh/train.json -n 30 --isa base $SET
one_line out 'one line'
like "$(cat out)" '"decode_img_s_core":[0-9.]+,.*"feed_img_s":[0-9.]+.*"isa":"base"' \
	'with its figures'
done_testing
