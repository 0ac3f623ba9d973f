#!/bin/sh
# imgshard: long names, what reading says and does, raw sets.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
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

done_testing
