#!/bin/sh
# imgshard pack --jpeg rows: other bytes, the same pixels in every crop.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
. "$TOP/t/lib/pictures.sh"

I=$BIN/imgshard

# batches MANIFEST OPTION... : a stream of feed without its hello, which names
# the data set
batches() {
	"$I" feed "$@" >stream || return
	hello=$(od -An -t u8 -N 8 stream)
	tail -c +$((hello + 9)) stream
}

# same_pixels KEPT ROWS NAME FILES: train crops of three sizes, eval crops
same_pixels() {
	for size in 224 176 64; do
		for set in keep rows; do
			dir=$1
			[ $set = keep ] || dir=$2
			batches "$dir/train.json" --epochs 1 -t 2 INPUT.SIZE $size \
				SOLVER.BATCH 10 >$set.train
			batches "$dir/train.json" --eval -t 2 INPUT.SIZE $size \
				INPUT.RESIZE $((size * 8 / 7)) SOLVER.BATCH 10 >$set.eval
		done
		[ "$(wc -c <keep.train)" -gt $(($4 * size * size * 3)) ]
		ok $? "$3: size $size: all crops are there"
		same keep.train rows.train "$3: size $size: training"
		same keep.eval rows.eval "$3: size $size: evaluation"
	done
}

# flags MANIFEST: of all samples
flags() {
	"$I" ls --json "$1" | sed 's/.*"flags":\([0-9]*\).*/\1/'
}

# ---- pictures made here
"$BIN/imgsynth" imagenet made --classes 3 --train 8 --val 1 --size-min 60 \
	--size-max 400
picture pic.png
class=$(basename "$(find made/train -mindepth 1 -type d | sort | head -n 1)")
mv pic.png "made/train/$class/picture.png"
expect_status 0 'pack' "$I" pack --order sorted -o keep made/train
expect_status 0 'pack --jpeg rows' "$I" pack --order sorted --jpeg rows -j 1 \
	-o rows made/train
like "$(cat rows/train.json)" '"pack":\{"jpeg":"rows","order":"sorted"' \
	'the manifest says so'
like "$(cat keep/train.json)" '"pack":\{"jpeg":"keep",' 'and of the other not'
is "$(flags rows/train.json | awk '{ n[int($1 / 256) % 2]++ }
	END { print n[1] "+" n[0] }')" 24+1 'a flag tells the files that are'
"$I" cat rows/train.json "$class/picture" >picture.png
same picture.png "made/train/$class/picture.png" 'PNG files are kept'
"$I" ls keep/train.json | cut -f1,2,4,5 >keep.ls
"$I" ls rows/train.json | cut -f1,2,4,5 >rows.ls
same keep.ls rows.ls 'keys, labels, sizes'
expect_status 0 'verify' "$I" verify --full rows/train.json
expect_status 0 'again, three threads' "$I" pack --order sorted --jpeg rows \
	-j 3 -o rows3 made/train
expect_status 0 'the same bytes' diff -r rows rows3
same_pixels keep rows 'made up' 25

# what cannot be decoded is kept as it is where nobody looks at it
mkdir -p cut/a
head -c 700 "$(find made/train -name '*.jpg' | sort | head -n 1)" >cut/a/x.jpg
expect_status 0 'a file cut off' "$I" pack --jpeg rows --check none -o cuts cut
"$I" cat cuts/train.json '#0' >x.jpg
same x.jpg cut/a/x.jpg 'is kept'

# ---- EXIF: orientation 6 between the first two segments of a file
mkdir -p turned/a
file=$(find made/train -name '*.jpg' | sort | head -n 1)
{
	head -c 20 "$file"
	printf '\377\341\000\042Exif\000\000II*\000\010\000\000\000\001\000'
	printf '\022\001\003\000\001\000\000\000\006\000\000\000\000\000\000\000'
	tail -c +21 "$file"
} >turned/a/x.jpg
"$I" pack -q -o turn1 turned >out
"$I" pack -q --jpeg rows -o turn2 turned >out
"$I" pack -q --jpeg rows --keep-exif -o turn3 turned >out
for n in 1 2 3; do
	flags turn$n/train.json | awk '{ print int($1 / 1024) % 2 }'
done >turned.flags
is "$(tr '\n' ' ' <turned.flags)" '1 0 1 ' 'EXIF goes, or stays if asked for'

# ---- photographs
if have_data imagenet1k-samples; then
	tar xf "$DATA/images.tar"
	"$I" pack -q --order sorted -o photos train >out
	like "$(cat out)" ' 100 samples' '100 photographs'
	expect_status 0 'as rows' "$I" pack -q --order sorted --jpeg rows \
		-o photorows train
	is "$(flags photorows/train.json | awk '{ n += int($1 / 256) % 2 }
		END { print n }')" "$(flags photorows/train.json | awk '
		{ n += $1 % 2 && int($1 / 512) % 2 == 0 } END { print n }')" \
		'all whose decoding brings no warning'
	same_pixels photos photorows photographs 100
	one=$(sed 's/.*"bytes":\([0-9]*\),"classes".*/\1/' photos/train.json)
	two=$(sed 's/.*"bytes":\([0-9]*\),"classes".*/\1/' photorows/train.json)
	[ "$two" -lt "$one" ]
	ok $? "they take less room: $two of $one bytes"
else
	skip 13 'data: no imagenet1k-samples'
fi

done_testing
