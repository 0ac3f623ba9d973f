#!/bin/sh
# imgshard for people: the progress line, what a data set is like, what an epoch
# makes of it.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
I=$BIN/imgshard

"$BIN/imgsynth" imagenet photos --classes 3 --train 6 --val 2 --seed 1 >/dev/null 2>&1

# ---- the progress line
expect_status 0 'pack' "$I" pack -o sh --shard-count 7 photos/train
is "$(cat err)" '' 'no progress line where there is no terminal'
if script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
	script -qec "$I pack -o tty photos/train" /dev/null </dev/null >out
	like "$(cat out)" '\[[#.]{24}\] +[0-9]+%  [0-9]+/18' 'a terminal has one'
	like "$(tail -n 1 out)" "$(printf '\r.\\[Ktty/train.json: 18 samples')" \
		'and it is gone in the end'
	echo 'no image' >photos/train/c00-striped-disc/bad.jpg
	script -qec "$I pack -o tty2 --on-bad drop photos/train" /dev/null \
		</dev/null >out
	like "$(cat out)" "$(printf '\r.\\[Kimgshard: .*bad.jpg: neither')" \
		'it makes room for messages'
	rm photos/train/c00-striped-disc/bad.jpg
	script -qec "$I pack -q -o tty3 photos/train" /dev/null </dev/null >out
	unlike "$(cat out)" '\[[#.]{24}\]' 'none with -q'
	script -qec "$I verify sh/train.json" /dev/null </dev/null >out
	like "$(cat out)" '\] +[0-9]+%  [0-9]+/18' 'verify has one'
else
	skip 5 'script: no terminal to be had here'
fi

# ---- stats
cp -R photos/train uneven
rm uneven/c01-dotted-square/*[0-2].jpg

printf 'c00-striped-disc\tdisc <of> "stripes" & more\nc01-dotted-square\n' >classes
printf 'c02-ringed-triangle\nc99-none\n' >>classes
expect_status 0 'an uneven set' "$I" pack -o un --classes classes uneven
expect_status 0 'stats' "$I" stats un/train.json
is "$(sed -n 1p out | cut -f1,2 | cut -d, -f1,2)" \
	"images train	15 images, 1 shards" 'what it is'
is "$(sed -n '2,6p' out)" "classes	4, 1 without images
	6	c00-striped-disc	disc <of> \"stripes\" & more
	6	c02-ringed-triangle
	3	c01-dotted-square
	0	c99-none" 'classes, the largest first'
"$I" ls un/train.json >list
for column in 4:width 5:height 3:file; do
	cut -f"${column%:*}" list | sort -n >sorted
	want=$(awk '{ v[NR] = $1; sum += $1 }
		END { printf "%.6g %.6g %.6g %.6g", v[1], v[8], v[15], sum / NR }' sorted)
	is "$(awk -F'\t' -v name="${column#*:}" '$1 == name {
		print $2, $5, $8, $9 }' out)" "$want" \
		"${column#*:}: least, median, most, mean"
done
is "$(awk -F'\t' '$1 == "jpeg" { print $2 }' out)" '15 images' 'kinds'
expect_status 0 'as JSON' "$I" stats --json --svg un.svg un/train.json
one_line out 'one line'
like "$(cat out)" '"images":3,"name":"c01-dotted-square"' 'images of a class'
like "$(cat out)" '"samples":15.*"unlabelled":0' 'counts'
like "$(cat un.svg)" 'disc &lt;of&gt; &quot;stripes&quot; &amp; more: 6' \
	'the picture has the classes, as XML must'
unlike "$(cat un.svg)" '<script|href|url\(' 'and nothing that runs or is fetched'
is "$(grep -c prefers-color-scheme un.svg)" 1 'it has a dark form'
is "$(grep -c '<rect class="f0".*><title>.*: [0-9]* *[a-z]*</title>' un.svg)" \
	"$(grep -c '<rect class="f0"' un.svg)" 'bars have tips'
if command -v xmllint >/dev/null 2>&1; then
	expect_status 0 'it is XML' xmllint --noout un.svg
elif command -v python3 >/dev/null 2>&1; then
	expect_status 0 'it is XML' python3 -c \
		'import xml.dom.minidom; xml.dom.minidom.parse("un.svg")'
else
	skip 1 'no reader of XML'
fi
expect_status 73 'a picture that cannot be made' "$I" stats --svg no/where.svg \
	un/train.json
one_line err 'one line'
expect_status 66 'no manifest' "$I" stats un/none.json
expect_status 0 'images without classes' "$I" pack -o flat uneven/c00-striped-disc
expect_status 0 'have stats' "$I" stats --svg flat.svg flat/train.json
like "$(cat out)" '^unlabelled	6 images' 'that say so'

# ---- show and sheet: what feed writes
S=24
SET="INPUT.SIZE $S SOLVER.BATCH 6 SOLVER.ACCUM 3"

# pixels FILE ROW: row ROW of the first batch in a stream of frames
pixels() {
	p_at=$(grep -abo '{"__metadata__":{[^}]*"t":"batch"' "$1" | head -n 1 |
		cut -d: -f1)
	p_header=$(od -An -tu8 -j $((p_at - 8)) -N 8 "$1" | tr -d ' ')
	p_first=$(tail -c +$((p_at + 1)) "$1" | head -c "$p_header" |
		sed 's/.*"image":{\([^}]*\)}.*/\1/; s/.*"data_offsets":\[\([0-9]*\),.*/\1/')
	tail -c +$((p_at + p_header + p_first + $2 * 3 * S * S + 1)) "$1" |
		head -c $((3 * S * S))
}
# field NAME: of what show told, the first
field() {
	awk -F'\t' -v name="$1" '$1 == name { print $2; exit }' out
}

# Row 1 of the third micro-step of the first step of epoch 2, on rank 1 of 2
# shellcheck disable=SC2086
"$I" order sh/train.json --epoch 2 --world 2 --rank 1 --seed 4 \
	SOLVER.BATCH 12 SOLVER.MICRO 2 SOLVER.ACCUM 3 >positions
is "$(sed -n 6p positions | cut -f1)" 11 'a position'
key=$(sed -n 6p positions | cut -f3)
cat >seen.yaml <<END
INPUT.SIZE: $S
SOLVER.BATCH: 12
SOLVER.MICRO: 2
SOLVER.ACCUM: 3
SEED: 4
END
expect_status 0 'show' "$I" show sh/train.json "$key" -c seen.yaml --world 2 \
	--epoch 2 -o seen.ppm
is "$(field key) $(field position) $(field step) $(field micro) $(field rank) $(field row)" \
	"$key 11 0 2 1 1" 'where it stands'
is "$(field seen)" "$(for r in 0 1; do "$I" order sh/train.json --epoch 2 --world 2 \
	--rank $r -c seen.yaml; done | cut -f3 | grep -cx "$key")" 'and how often'
is "$(field width) $(field height) $(field bytes)" \
	"$("$I" ls sh/train.json | awk -F'\t' -v key="$key" '$1 == key {
		print $4, $5, $3 }')" 'its size'
cp out told
"$I" feed sh/train.json -c seen.yaml --world 2 --rank 1 --epochs 2-2 >frames
at=$(grep -abo '{"__metadata__":{[^}]*"t":"batch"' frames | sed -n 3p | cut -d: -f1)
tail -c +$((at - 7)) frames >rest
pixels rest 1 >want
tail -c $((3 * S * S)) seen.ppm >got
same got want 'the pixels are those of feed'
is "$(head -n 2 seen.ppm | tr '\n' ' ')" "P6 $S $S " 'as a picture'
[ "$(field w)" -le "$(field width)" ] && [ "$(field h)" -le "$(field height)" ]
ok $? 'the crop lies in the image'
expect_status 0 'as JSON, by number' "$I" show sh/train.json "#$(field sample)" \
	-c seen.yaml --world 2 --epoch 2 --json
one_line out 'one line'
like "$(cat out)" '"seen":\[\{"flip":"(yes|no)","h":[0-9]+,"micro":2,"position":11,"rank":1,"row":1,' \
	'says the same'
expect_status 0 'in another epoch' "$I" show sh/train.json "$key" -c seen.yaml \
	--world 2 --epoch 3
cut -f2 out >other
cut -f2 told | cmp -s - other
is $? 1 'it is seen otherwise'
expect_status 0 'a JPEG' "$I" show sh/train.json "$key" -c seen.yaml \
	--world 2 -o seen.jpg
# what else is in the micro-batch is not even read
cp -r sh hurt
shard=hurt/$(jq -r '.shards[0].file' sh/train.json)
"$I" ls sh/train.json | cut -f1 | grep -vxF "$key" | while read -r other; do
	at=$(sed '1d' "${shard%.tar}.idx" | tr ' ' '\n' |
		grep -B2 -xF "$other.jpg" | head -n 1)
	printf X | dd of="$shard" bs=1 seek=$((at + 40)) conv=notrunc 2>dd.err
done
expect_status 0 'among damaged ones' "$I" show hurt/train.json "$key" \
	-c seen.yaml --world 2 --epoch 2 -o hurt.ppm
same hurt.ppm seen.ppm 'the same'
is "$(head -c 3 seen.jpg | od -An -tx1)" ' ff d8 ff' 'is one'
expect_status 0 'for evaluation' "$I" show sh/train.json '#7' --size 32 --batch 6 \
	--eval -o eval.ppm
is "$(field position) $(field w) $(field h) $(field flip)" '7 32 32 no' \
	'in the order of the shards, the centre'
is "$(field resized_width) $(field resized_height)" "$(awk -v w="$(field width)" \
	-v h="$(field height)" 'BEGIN { r = int((32 * 256 + 112) / 224)
		print (w > h ? int(r * w / h) : r), (w > h ? r : int(r * h / w)) }')" \
	'of the image resized'
expect_status 0 'squashed' "$I" show sh/train.json '#7' --size 32 --batch 6 --eval \
	INPUT.RESIZE 40 INPUT.SQUASH true
is "$(field resized_width) $(field resized_height) $(field x) $(field y)" '40 40 4 4' \
	'both sides are resized, whatever the shape'
# with all that a recipe can do to it
expect_status 0 'augmented' "$I" show sh/train.json '#7' --size $S --batch 6 \
	INPUT.POLICY rand INPUT.ERASE 1 INPUT.CUTMIX 1 -o mixed.ppm
is "$(grep -c '^change' out)" 2 'the operations are told'
like "$(cat out)" '^erased	[0-9]+ [0-9]+ [0-9]+ [0-9]+$' 'and what is erased'
pos=$(field position)
is "$(field mix) $(field mix_sample)" "cutmix $("$I" order sh/train.json --epoch 0 \
	--batch 6 | awk -v p="$pos" '$1 == (p % 6 ? p - 1 : p + 5) { print $2 }')" \
	'and with which image it is mixed'
# 18 = 4 * 5 - 2: two are seen twice, or two not at all
"$I" order sh/train.json --epoch 0 --batch 5 | cut -f2 | sort | uniq -d >twice
is "$(wc -l <twice | tr -d ' ')" 2 'two samples are seen twice'
expect_status 0 'one of them' "$I" show sh/train.json "#$(head -n 1 twice)" \
	--batch 5 --size $S
is "$(grep -c '^position' out)" 2 'has two places'
"$I" order sh/train.json --epoch 0 --batch 5 --tail drop | cut -f2 | sort -n >seen
unseen=$(seq 0 17 | sort | comm -23 - "$(sort seen >seen.s; echo seen.s)" | head -n 1)
expect_status 0 'one that is dropped' "$I" show sh/train.json "#$unseen" \
	--batch 5 --size $S --tail drop
is "$(field seen)" 0 'is not seen'
expect_status 66 'and has no pixels' "$I" show sh/train.json "#$unseen" \
	--batch 5 --size $S --tail drop -o none.ppm
one_line err 'one line'
expect_status 66 'no such key' "$I" show sh/train.json nix --batch 6
one_line err 'one line'
expect_status 64 'no such picture' "$I" show sh/train.json '#0' -o x.gif
one_line err 'one line'
expect_status 64 'no such epoch' "$I" show sh/train.json '#0' --epoch -3

# shellcheck disable=SC2086
expect_status 0 'sheet' "$I" sheet sh/train.json -n 7 --columns 3 --epoch 1 \
	-o sheet.ppm $SET
is "$(cat out)" "sheet.ppm: 7 images of epoch 1 from position 0, $((12 + 28 * 3))x$((12 + 38 * 3)) pixels" \
	'says what it is'
# shellcheck disable=SC2086
"$I" feed sh/train.json --epochs 1-1 $SET >frames
# tile COLUMN ROW: its pixels
tile() {
	w=$((12 + 28 * 3))
	begin=$(($(wc -c <sheet.ppm) - 3 * w * (12 + 38 * 3)))
	y=0
	while [ $y -lt $S ]; do
		tail -c +$((begin + 3 * (w * (8 + 38 * $2 + y) + 8 + 28 * $1) + 1)) \
			sheet.ppm | head -c $((3 * S))
		y=$((y + 1))
	done
}
pixels frames 0 >want
tile 0 0 >got
same got want 'the first tile is the first row of feed'
# row 5 of the micro-batches of 2: the second of the third
at=$(grep -abo '{"__metadata__":{[^}]*"t":"batch"' frames | sed -n 3p | cut -d: -f1)
tail -c +$((at - 7)) frames >rest
pixels rest 1 >want
tile 2 1 >got
same got want 'the sixth is the sixth'
# shellcheck disable=SC2086
expect_status 0 'of rank 1 of 2, fewer than asked for' "$I" sheet sh/train.json \
	--world 2 --rank 1 -n 100 --epoch 0 --eval -o sheet.jpg INPUT.SIZE $S \
	SOLVER.BATCH 4
like "$(cat out)" '^sheet\.jpg: 9 images of epoch 0 from position 2,' 'all it has'
# shellcheck disable=SC2086
expect_status 0 'of rank 2 of 3, to look at' "$I" sheet sh/train.json \
	--world 3 --rank 2 -n 4 --epoch 0 --eval -o sheet.jpg INPUT.SIZE $S \
	SOLVER.BATCH 4
like "$(cat out)" '^sheet\.jpg: 4 images of epoch 0 from position 3,' 'which has one of each four'
is "$(head -c 3 sheet.jpg | od -An -tx1)" ' ff d8 ff' 'a JPEG'
expect_status 64 'too large' "$I" sheet sh/train.json -n 18 --columns 1 \
	--size 4096 --batch 2
one_line err 'one line'
expect_status 64 'no such kind' "$I" sheet sh/train.json -o sheet.png
expect_status 73 'no such folder' "$I" sheet sh/train.json -o no/sheet.jpg \
	--size 8 --batch 2

# ---- detection: six images; in each a box of 10x20 at 5,3, and a crowd in the first
"$I" ls flat/train.json | sort | awk -F'\t' '
	BEGIN { printf "{\"categories\":[{\"id\":7,\"name\":\"disc\"},{\"id\":9,\"name\":\"cat\"}]," }
	{
		n++
		image = image (n > 1 ? "," : "") sprintf("{\"id\":%d,\"file_name\":\"%s.jpg\",\"width\":%d,\"height\":%d}", n, $1, $4, $5)
		ann = ann (n > 1 ? "," : "") sprintf("{\"id\":%d,\"image_id\":%d,\"category_id\":7,\"bbox\":[5,3,10,20],\"area\":%d,\"iscrowd\":0}", n, n, n * 500)
	}
	END {
		ann = ann ",{\"id\":90,\"image_id\":1,\"category_id\":9,\"bbox\":[0,0,2,2],\"area\":4,\"iscrowd\":1,\"segmentation\":{\"counts\":[0,4],\"size\":[2,2]}}"
		print "\"images\":[" image "],\"annotations\":[" ann "]}"
	}' >coco.json
expect_status 0 'a set for detection' "$I" pack -o coco coco.json \
	photos/train/c00-striped-disc
expect_status 0 'has stats' "$I" stats --svg coco.svg coco/train.json
is "$(sed -n '2,5p' out)" 'objects	6; 2 small, 4 medium, 0 large; 1 crowds beside them
classes	2, 1 without objects
	6	disc
	0	cat' 'of its objects'
is "$(awk -F'\t' '$1 == "objects" || $1 == "box" || $1 == "box_aspect" {
	print $2, $5, $8 }' out | tail -n 3)" '1 1 1
14.1421 14.1421 14.1421
0.5 0.5 0.5' 'and boxes'
like "$(cat coco.svg)" 'objects of each class' 'drawn'
expect_status 0 'as JSON' "$I" stats --json coco/train.json
like "$(cat out)" '"objects_in_all":\{"crowds":1,"large":0,"medium":4,"objects":6,"small":2\}' \
	'the same'
expect_status 0 'show' "$I" show coco/train.json '#0' --eval --batch 2 \
	INPUT.MIN_SIZE_TEST 0
is "$(grep '^object	disc' out)" 'object	disc	5 3 15 23' 'says where the objects are'
is "$(field resized_width)" "$(field width)" 'in the image as it is fed'
"$I" show coco/train.json '#0' --eval --batch 2 INPUT.MIN_SIZE_TEST 60 INPUT.MAX_SIZE_TEST 60 >out
is "$(field resized_width) $(field resized_height)" "$(awk -v w="$(field width)" -v h="$(field height)" \
	'BEGIN { s = 60 / (w > h ? w : h); print int(w * s + 0.5), int(h * s + 0.5) }')" \
	'of which the long side has a bound, too'
for epoch in 0 1 2 3 4 5 6 7; do
	"$I" show coco/train.json '#0' --batch 2 --epoch $epoch INPUT.MIN_SIZE_TRAIN 60,80 \
		INPUT.MIN_SIZE_TRAIN_SAMPLING range DATALOADER.ASPECT_RATIO_GROUPING false >out
	echo "$(field resized_width) $(field resized_height)"
done >ranged
is "$(awk '{ s = $1 < $2 ? $1 : $2; bad += s < 60 || s > 80; between += s > 60 && s < 80 }
	END { print NR, bad + 0, (between > 3) }' ranged)" '8 0 1' 'lengths from a range'
NO_GROUPS='DATALOADER.ASPECT_RATIO_GROUPING false'
n=0
wrong=
while [ $n -lt 6 ]; do
	# shellcheck disable=SC2086
	"$I" show coco/train.json "#$n" --batch 2 INPUT.MIN_SIZE_TRAIN 300 \
		INPUT.MAX_SIZE_TRAIN 5000 -o d$n.ppm --boxes $NO_GROUPS >out || wrong="$wrong $n"
	# a box in 1/100 pixels, and where it must be
	awk -F'\t' '
		$1 == "width" { w = $2 } $1 == "height" { h = $2 }
		$1 == "resized_width" { rw = $2 } $1 == "resized_height" { rh = $2 }
		$1 == "flip" { flip = $2 == "yes" }
		$1 == "object" { split($3, b, " "); n++ }
		END {
			x0 = 5 * rw / w; x1 = 15 * rw / w
			if (flip) { t = rw - x1; x1 = rw - x0; x0 = t }
			bad = n != 1 || (b[1] - x0) ^ 2 + (b[3] - x1) ^ 2 > 1e-4 ||
				(b[2] - 3 * rh / h) ^ 2 + (b[4] - 23 * rh / h) ^ 2 > 1e-4
			exit bad
		}' out || wrong="$wrong $n"
	is "$(head -n 2 d$n.ppm | tail -n 1)" "$(field resized_width) $(field resized_height)" \
		"image $n: as large as it is fed"
	n=$((n + 1))
done
is "$wrong" '' 'training: scaled and mirrored, and no crowds'
# red, green, blue in the middle of the lower edge of the box of image 5
x=$(awk -F'\t' '$1 == "object" { split($3, b, " "); print int((b[1] + b[3]) / 2) }' out)
y=$(awk -F'\t' '$1 == "object" { split($3, b, " "); printf "%.0f", b[4] }' out)
begin=$(($(wc -c <d5.ppm) - 3 * $(field resized_width) * $(field resized_height)))
is "$(tail -c +$((begin + 3 * ((y - 1) * $(field resized_width) + x) + 1)) d5.ppm |
	head -c 3 | od -An -tu1 | tr -s ' ')" ' 255 77 77' 'the box is drawn'
expect_status 0 'RGB' "$I" show coco/train.json '#1' --batch 2 -o rgb.ppm \
	DATALOADER.ASPECT_RATIO_GROUPING false INPUT.FORMAT RGB
expect_status 0 'BGR' "$I" show coco/train.json '#1' --batch 2 -o bgr.ppm \
	DATALOADER.ASPECT_RATIO_GROUPING false INPUT.FORMAT BGR
same bgr.ppm rgb.ppm 'eyes see the same'
expect_status 0 'sheet' "$I" sheet coco/train.json --batch 2 -n 6 -o coco.jpg
like "$(cat out)" '^coco\.jpg: 6 images of epoch 0 ' 'has all'

# ---- DALI's index: what GNU tar makes of a shard
for shard in sh/train-00000[0-2].tar; do
	tar --list --block-number --file "$shard" | grep -v '\*\*' |
		sed 's/^block \([0-9]*\): /\1 /' >blocks
	tar --list --verbose --file "$shard" | awk '{ print $3 }' >sizes
	paste -d' ' blocks sizes | awk '
		{
			key = $2; sub(/\.[^\/]*$/, "", key)
			ext = substr($2, length(key) + 2)
			# the data begin a block behind the header
			part = ext " " ($1 + 1) * 512 " " $3 " " $2
			if (key == last)
				line[n] = line[n] " " part
			else
				line[++n] = part
			last = key
		}
		END { print "v1.2 " n; for (i = 1; i <= n; i++) print line[i] }' >want
	same "${shard%.tar}.idx" want "$(basename "$shard"): its .idx"
done

# ---- real ones
if have_data coco128/images.tar; then
	expect_status 0 'coco128' "$I" pack --check header -o c128 --shard-count 40 \
		"${DATA%images.tar}instances_coco128.json" "$DATA"
	expect_status 0 'its stats' "$I" stats --svg c128.svg c128/train.json
	crowds=$(grep -o '"iscrowd": *1' "${DATA%images.tar}instances_coco128.json" |
		wc -l | tr -d ' ')
	is "$(sed -n 2p out)" "objects	929; 414 small, 290 medium, 225 large; $crowds crowds beside them" \
		'as its annotations say'
	expect_status 0 'its pictures' "$I" sheet c128/train.json -n 6 --batch 2 \
		INPUT.MIN_SIZE_TRAIN 200
	rm -rf c128
else
	skip 4 'data: coco128 is not here'
fi
if have_data imagenet1k-samples/images.tar; then
	expect_status 0 'photographs' "$I" pack -o in1k "$DATA"
	expect_status 0 'their stats' "$I" stats in1k/train.json
	is "$(awk -F'\t' '$1 == "width" || $1 == "height" { print $2, $8 }
		$1 == "jpeg" || $1 == "grey" { print $2 }' out | tr '\n' ' ')" \
		'68 2400 56 1632 100 images 11 images ' 'are theirs'
	expect_status 0 'their pictures' "$I" sheet in1k/train.json -n 20 --batch 10 \
		--size 112 INPUT.POLICY auto INPUT.MIXUP 0.2 INPUT.ERASE 0.25
	expect_status 0 'whole and sound' "$I" verify --full in1k/train.json
else
	skip 5 'data: imagenet1k-samples is not here'
fi

done_testing
