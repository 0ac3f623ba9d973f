#!/bin/sh
# What the first users of a place do who read no page of it.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"
I=$BIN/imgshard

make_data

# ---- what a killed one has left

mkdir shards/.train.999999999.tmp .made-up.999999999.tmp
echo x > shards/.train.999999999.tmp/train-000000.tar
echo x > .made-up.999999999.tmp/README
expect_status 0 'pack again' "$I" pack -f -o shards made-up/train
is "$(find shards -name '.*tmp*')" '' 'what a killed pack left is gone'
expect_status 0 'drawn again' "$BIN/imgsynth" imagenet -f --classes 4 --train 16 \
    --val 4 --size-min 40 --size-max 60 made-up
is "$(find . -name '*.tmp')" '' 'so is what a killed imgsynth left'
expect_status 0 'in a folder that is not there yet' "$BIN/imgsynth" imagenet \
    --classes 1 --train 1 --val 0 new/er/set
is "$(find new -name '*.tmp')" '' 'nothing beside it'

# ---- sources

mkdir -p odd/a odd/b
cp made-up/train/*disc/*_00000.jpg odd/a/1.jpg
cp made-up/train/*disc/*_00001.jpg odd/b/2.jpg
ln -s loop.jpg odd/b/loop.jpg
expect_status 65 'a link to itself' "$I" pack -o odd.d odd
like "$(cat err)" 'b/loop.jpg: neither a file nor a folder' 'is named'
expect_status 0 'dropped' "$I" pack -o odd.d --on-bad drop odd
rm odd/b/loop.jpg
printf '   a\n   b\n' > aligned
expect_status 0 'labels with blanks in front' "$I" pack -o aligned.d \
    --labels aligned odd
is "$("$I" ls aligned.d/train.json | cut -f1,2 | sort)" 'a/1	0
b/2	1' 'are labels'
expect_status 64 'a tar without a name' "$I" index "$(
    cp shards/train-000000.tar .tar && echo .tar
)"
like "$(cat err)" 'no name to take for the split' 'says so'
one_line err 'one line'

expect_status 64 'a split of control characters' "$I" pack -o odd.d \
    --split "$(printf 'a\001b')" odd
one_line err 'one line'

expect_status 66 'a sheet of no images' "$I" sheet shards/train.json --epochs 0
like "$(cat err)" 'no images there' 'says so'

# ---- paths

long=$(printf '%5000s' '' | tr ' ' x)
expect_status 66 'a path that is too long' "$I" ls "/$long/train.json"
one_line err 'one line'
like "$(cat err)" 'File name too long$' 'that says why'
mkfifo pipe
for f in 'ckpt-merge ls' 'ckpt-merge -o joined' 'ckpt-merge verify'; do
    # shellcheck disable=SC2086
    expect_status 65 "$f of a pipe" timeout 20 "$BIN"/$f pipe
    like "$(cat err)" 'pipe: not a regular file' 'does not wait'
done

# ---- training

cat > plain.yaml << END
_BASE_: small.yaml
MODEL.CLASSES: 4
END
expect_status 0 'images without classes' "$I" pack -o flat made-up/train/*disc
"$I" feed flat/train.json -c plain.yaml --train > batches
expect_status 65 'are not trained on' from batches "$WORKER" train -c plain.yaml \
    -e "$ENGINE" -t 1
like "$(cat err)" 'image [0-9]+ of the data set has no class' 'says why'
expect_status 65 'weights of torch.save' from batches "$WORKER" train \
    -c plain.yaml -e "$ENGINE" -t 1 -w "$TOP/t/fuzz/corpus/foreign/zip.pth"
like "$(cat err)" 'zip.pth: a file of torch.save: ckpt-merge' 'say what helps'
expect_status 64 'half a step' "$WORKER" train --save-every 0.5it
like "$(cat err)" '"0.5it": not a period' 'is no period'
{ "$WORKER" train --print-lr 2> err || echo "status $?" >> err; } | head -n 1 > out
is "$(cat err)" 'status 141' 'rates that nobody reads are no error'

done_testing
