#!/bin/sh
# imgshard: long names, what reading says and does, raw sets.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
. "$TOP/t/lib/frames.sh"
I=$BIN/imgshard

"$BIN/imgsynth" imagenet made --classes 2 --train 8 --val 2 --size-min 40 \
	--size-max 90 -q >/dev/null

# ---- names that ustar cannot hold
long=$(printf '%0150d' 7)
mkdir -p src/one src/two
cp made/train/*/*0.* src/one/
set -- made/train/*/*.jp*
cp "$1" "src/one/$long.jpg"
cp "$2" "src/two/$long.jpg"
cp "$3" "src/two/short.jpg"
expect_status 0 'base names of 150 bytes' "$I" pack -q -o long --order sorted src
expect_status 0 'are sound' "$I" verify --full long/train.json
is "$(tar tf long/train-000000.tar | sed -n '$p')" two/short.jpg 'tar reads on'
is "$(tar tf long/train-000000.tar | grep -c "two/$long.[cj]")" 2 'and them'
tar xf long/train-000000.tar
same "two/$long.jpg" "src/two/$long.jpg" 'with their bytes'
"$I" cat long/train.json "one/$long" >out
same out "src/one/$long.jpg" 'by key'
cp -r long again
expect_status 0 'indexed anew' "$I" index -q -f --check full again/train-000000.tar
same again/train.index.safetensors long/train.index.safetensors 'the same index'
same again/train-000000.idx long/train-000000.idx 'and that of DALI'
"$I" read long/train.json --epochs 1 --order seq --batch 4 --tail exact |
	tar tf - 2>err >names
is "$(grep -c "two/$long.index" names)" 1 'in a stream too'

# ---- pixels instead of files
"$I" pack -q -o keep made/train >/dev/null
expect_status 0 'pack --raw' "$I" pack -q -j 1 -o raw --raw 32 made/train
expect_status 0 'with more threads' "$I" pack -q -j 3 -o raw3 --raw 32 made/train
same raw/train-000000.tar raw3/train-000000.tar 'the same bytes'
is "$(tar tf raw/train-000000.tar | grep -c '\.ppm$')" 16 'pixels'
tar xf raw/train-000000.tar
set -- */*.ppm
is "$(head -c 2 "$1")" P6 'that others can look at'
is "$("$I" ls raw/train.json | awk '$4 != 32 && $5 != 32')" '' 'of one short side'
is "$("$I" ls --json raw/train.json | grep -vc '"flags":16384')" 0 'and one kind'
like "$(cat raw/train.json)" '"jpeg":"raw:32"' 'says the manifest'
expect_status 0 'sound' "$I" verify --full raw/train.json
cp -r raw again.raw
expect_status 0 'indexed anew' "$I" index -q -f again.raw/train-000000.tar
same again.raw/train.index.safetensors raw/train.index.safetensors 'the same index'
expect_status 0 'packed from that tar' "$I" pack -q --order sorted \
	--classes raw/train.json -o tar.raw raw/train-000000.tar
"$I" pack -q --order sorted -o sorted.raw --raw 32 made/train >/dev/null
same tar.raw/train-000000.tar sorted.raw/train-000000.tar 'the same bytes'
# 32 is to 28 what 256 is to 224: evaluation begins with what pack has done
SET='SOLVER.BATCH 8 INPUT.SIZE 28'
for set in keep raw; do
	# shellcheck disable=SC2086 # words
	"$I" feed $set/train.json --eval $SET >f
	frames pixels f >eval.$set
done
is "$(wc -c <eval.raw)" $((16 * 28 * 28 * 3)) 'crops for evaluation'
same eval.raw eval.keep 'are those of the files, bit for bit'
# shellcheck disable=SC2086
"$I" feed raw/train.json --epochs 2 -t 1 $SET >single
# shellcheck disable=SC2086
"$I" feed raw/train.json --epochs 2 -t 3 --io-threads 0 $SET >three
same single three 'three threads: the same bytes'
# shellcheck disable=SC2086
"$I" feed raw/train.json --epochs 2 -t 16 --io-threads 1 $SET >sixteen
same single sixteen 'and sixteen'
# shellcheck disable=SC2086
"$I" read raw/train.json --epochs 2 $SET | "$I" decode INPUT.SIZE 28 >piped
frames whole single >a
frames whole piped >b
same a b 'read | decode too'
expect_status 64 'files rewritten and not kept' "$I" pack -q -o x --raw 32 \
	--jpeg rows made/train
"$BIN/imgsynth" coco boxes -q --train 4 --val 0 >/dev/null
expect_status 64 'and boxes' "$I" pack -q -o x --raw 32 \
	boxes/annotations/instances_train2017.json boxes/train2017
mkdir -p cut/one
head -c 3000 "$1" >cut/one/a.jpg
expect_status 65 'pixels that are cut off' "$I" pack -q -o x cut
like "$(cat err)" 'a.jpg: PPM: [0-9]+ bytes of pixels, want [0-9]+' 'are named'

# ---- windows of blocks, files read ahead of the rows or not
for threads in 0 1 8; do
	# shellcheck disable=SC2086
	"$I" feed keep/train.json --epochs 3 --order block:3000:2:1 -t 2 \
		--io-threads $threads $SET >block.$threads
	same block.$threads block.0 "block order, $threads reading threads"
done

# ---- checked at first reading only
for check in always once never; do
	# shellcheck disable=SC2086
	"$I" feed raw/train.json --epochs 2 --verify $check $SET >f
	same f single "--verify $check: the same bytes"
done

done_testing
