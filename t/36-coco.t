#!/bin/sh
# COCO: made-up scenes and real files packed, checked, read back; batches of a
# detector; what is refused.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"

I=$BIN/imgshard

# frames FILE: a stream of feed or decode without its hello, whose role differs
frames() {
	hello=$(od -An -t u8 -N 8 "$1")
	tail -c +$((hello + 9)) "$1"
}

# heads FILE: metadata of its frames, one line each
heads() {
	grep -ao '{"__metadata__":{[^}]*}' "$1" | sed 's/{"__metadata__"://'
}

# ---- scenes
expect_status 0 'imgsynth coco' "$BIN/imgsynth" coco made --train 40 --val 9 \
	--size-min 40 --size-max 120 -t 1
expect_status 0 'again, 3 threads' "$BIN/imgsynth" coco made2 --train 40 \
	--val 9 --size-min 40 --size-max 120 -t 3
expect_status 0 'the same bytes' diff -r made made2
J=made/annotations/instances_train2017.json
is "$(jq -c '[(.images|length),(.categories|map(.id))]' $J)" \
	'[40,[1,2,3,5,6,7,9,10]]' 'images, ids with holes'
jq -e '[.annotations[]|select(.iscrowd==1)]|length>0' $J >/dev/null
ok $? 'a crowd is among them'
is "$(jq '[.annotations[].bbox|select(.[2]<=0 or .[3]<=0)]|length' $J)" 0 \
	'boxes of pixels'

# ---- pack
expect_status 0 'pack' "$I" pack -v -o sh $J made/train2017
like "$(cat err)" '40 images, [0-9]+ objects of 8 categories' 'told with -v'
expect_status 0 'pack val' "$I" pack -o sh --split val --classes sh/train.json \
	made/annotations/instances_val2017.json made/val2017
tar -cf images.tar --sort=name -C made train2017
gzip -k images.tar
expect_status 0 'from a tar' "$I" pack -o fromtar $J images.tar
same sh/train.json fromtar/train.json 'the same manifest'
same sh/train-000000.tar fromtar/train-000000.tar 'the same shard'
expect_status 0 'sorted' "$I" pack -o sorted --order sorted $J made/train2017
expect_status 0 'from a compressed tar' "$I" pack -o fromgz $J images.tar.gz
same sorted/train-000000.tar fromgz/train-000000.tar 'in the order of the tar'
expect_status 0 'verify' "$I" verify --full sh/train.json
is "$(jq -r .task sh/train.json)" detection 'task'
is "$(jq -c '[.classes[].source_id]' sh/train.json)" '[1,2,3,5,6,7,9,10]' \
	'ids of the file in the manifest'
is "$(jq -c .classes sh/val.json)" "$(jq -c .classes sh/train.json)" \
	'val has the classes of train'

# every annotation is what the file says, canonical, with classes in its place
"$I" ls sh/train.json | cut -f1 | sort >keys
jq -r '.images[].id' $J | awk '{ printf "%012d\n", $1 }' | sort >want
same want keys 'keys are ids'
tr '\n' ' ' <keys | xargs "$I" cat --json sh/train.json >have
jq -cS '. as $all|(.categories|map(.id)|sort) as $ids|.images|sort_by(.id)[]|
	. as $i|{h:.height,id,w:.width,ann:[$all.annotations[]|
	select(.image_id==$i.id)|{area,bbox,cat:(.category_id as $c|
	$ids|index($c)),id,iscrowd}]}' $J >want
same want have 'annotations'
tar -xf sh/train-000000.tar 000000000007.json 000000000007.jpg
same 000000000007.jpg made/train2017/000000000007.jpg 'images as they were'
is "$(cat 000000000007.json)" "$("$I" cat --json sh/train.json 000000000007)" \
	'annotations lie beside them'
"$I" ls --json sh/train.json | head -n 1 >row
is "$(jq '.ann_size>10 and .width>=40 and .label==-1' row)" true 'ls --json'

# ---- index makes it anew
cp -r sh again && rm again/train.json again/train.index.safetensors
expect_status 0 'index' "$I" index again/train-000000.tar --classes sh/train.json
is "$(jq -r .task again/train.json)" detection 'finds what they are for'
same sh/train.index.safetensors again/train.index.safetensors 'the same index'

# ---- feed: empty images, groups, threads, read | decode
E=$(jq '([.annotations[]|select(.iscrowd==0).image_id]|unique|length) as $n|
	(.images|length)-$n' $J)
[ "$E" -gt 0 ]
ok $? "$E images without an object"
SET='INPUT.MIN_SIZE_TRAIN 60,80 INPUT.MAX_SIZE_TRAIN 130 SOLVER.BATCH 4'
# shellcheck disable=SC2086
{
	"$I" feed sh/train.json --epochs 2 -t 1 $SET >one
	"$I" feed sh/train.json --detect --epochs 2 -t 3 --queue 3 $SET >three
	"$I" read sh/train.json --epochs 2 $SET | "$I" decode --detect -t 2 $SET \
		>decoded
	"$I" order sh/train.json --epoch 0 $SET >rows
	"$I" order sh/train.json --epochs 1 $SET DATALOADER.FILTER_EMPTY_ANNOTATIONS \
		false DATALOADER.ASPECT_RATIO_GROUPING false >plain
	"$I" read sh/train.json --eval $SET | tar -tf - | grep -c jpg >all
}
same one three '1 and 3 threads'
frames one >a && frames decoded >b
same a b 'read and decode make the same frames'
like "$(heads one | head -n 1)" '"format":"BGR".*"max_size":"130".*"min_size":"80".*"samples":"'$((40 - E))'".*"task":"detection"' \
	'hello'
like "$(heads one | sed -n 3p)" '"format":"BGR".*"order":"global/shape:4".*"task":"detection"' \
	'batch'
is "$(sort -u rows | wc -l)" "$(((40 - E + 3) / 4 * 4))" 'positions'
is "$(cut -f2 plain | sort -u | wc -l)" 40 'all images when asked for'
is "$(cat all)" 40 'all for evaluation'
"$I" ls --json sh/train.json | jq -r '[.key,.width>.height]|@tsv' >wide
is "$(awk 'NR==FNR { wide[$1] = $2; next }
	{ k = int($1 / 4); if (k in seen && seen[k] != wide[$3]) bad++
	seen[k] = wide[$3] } END { print bad + 0 }' wide rows)" 0 \
	'no batch mixes shapes'
# shellcheck disable=SC2086
for w in 1 2; do
	r=0
	while [ $r -lt $w ]; do
		"$I" order sh/train.json --epochs 1 --rank $r --world $w $SET \
			--micro 2
		r=$((r + 1))
	done | sort -n >order.$w
done
same order.1 order.2 'the order of micro-batches does not depend on ranks'
# shellcheck disable=SC2086
"$I" feed sh/train.json --epochs 2 --resume \
	"dataset=$(jq -r .dataset sh/train.json),order=global/shape:4,seed=0,epoch=1,next=8,tail=wrap,group=4" \
	$SET >late
heads late | grep '"t":"batch"' | sed 's/"seq":"[0-9]*",//' >a
heads one | grep '"t":"batch"' | sed 's/"seq":"[0-9]*",//' |
	tail -n "$(wc -l <a)" >b
same a b 'resumed in the second epoch'

expect_status 0 'evaluation' "$I" feed sh/val.json --eval -b 1 \
	INPUT.MIN_SIZE_TEST 0
heads out >h
is "$(grep -c '"t":"batch"' h)" 9 'each image once'
like "$(sed -n 3p h)" '"order":"seq"' 'in order'
expect_status 0 'bench' "$I" bench sh/train.json -n 8 INPUT.MIN_SIZE_TRAIN 64

"$I" feed sh/train.json --epochs 1 -b 4 INPUT.MIN_SIZE_TRAIN 32 >batches
expect_status 78 'a classifier does not take them' "$BIN/accel-worker" train \
	-o run -b 4 --engine ref <batches
like "$(cat err)" 'stdin: batches of task detection' 'it says so'

for key in POLICY=rand JITTER=0,0,0.1,0 GREY=0.1 ERASE=0.1 MIXUP=0.2 CUTMIX=1 \
	REPEAT=2; do
	expect_status 78 "$key" "$I" feed sh/train.json -b 4 "INPUT.${key%=*}" \
		"${key#*=}"
	is "$(cat err)" "imgshard: INPUT.${key%=*}: not for detection" 'says so'
done

# ---- a tar of anybody
mkdir foreign && (cd foreign && tar -xf ../sh/train-000000.tar &&
	tar -cf ../foreign.tar --sort=name .)
# shellcheck disable=SC2086
expect_status 0 'decode --detect' "$I" decode --detect -b 8 \
	INPUT.MIN_SIZE_TRAIN 40 <foreign.tar
heads out >h
is "$(grep -c '"t":"batch"' h)" 5 'batches as they come'
like "$(tail -n 1 h)" '"rows":"40"' 'all of them'
(cd foreign && rm 000000000003.json && tar -cf ../foreign.tar --sort=name .)
expect_status 65 'without an annotation' "$I" decode --detect -b 8 <foreign.tar
like "$(cat err)" 'offset [0-9]+: ./000000000003: no annotation$' 'names it'
one_line err 'one line'

# ---- spoilt
cp -r sh bad
printf 'x' | dd of=bad/train-000000.tar bs=1 conv=notrunc 2>/dev/null \
	seek="$(jq .ann_offset row)"
expect_status 65 'a changed annotation' "$I" verify bad/train.json
like "$(cat err)" 'annotation: CRC-32' 'is found'
expect_status 65 'and not fed' "$I" feed bad/train.json --eval -b 1
expect_status 0 'another in its place' "$I" feed bad/train.json --eval -b 4 \
	--on-bad replace --max-bad 1 INPUT.MIN_SIZE_TEST 40
heads out | grep -q '"bad":"1"'
ok $? 'is counted'

# refused NAME STATUS MESSAGE FILTER [OPTION...]: pack of a changed file
refused() {
	name=$1 status=$2 message=$3 filter=$4
	shift 4
	jq -c "$filter" $J >changed.json
	rm -rf out.d
	expect_status "$status" "$name" "$I" pack -o out.d "$@" changed.json \
		made/train2017
	like "$(cat err)" "$message" "$name: says so"
}
refused 'two images of one id' 65 'image id 1 is there twice' \
	'.images[1].id=1'
refused 'two annotations of one id' 65 'annotation id 1 is there twice' \
	'.annotations[1].id=1'
refused 'a category that is not there' 65 'annotation id 1: no category id 4' \
	'.annotations[0].category_id=4'
refused 'ignore' 65 'annotation id 1: ignore' '.annotations[0].ignore=1'
refused 'no categories' 65 'no "categories"' 'del(.categories)'
refused 'no annotations' 0 'no objects in it' 'del(.annotations)'
expect_status 65 'not to be trained on' "$I" feed out.d/train.json
like "$(cat err)" 'train.json: no image has an object' 'says why'
expect_status 0 'but to be predicted' "$I" order out.d/train.json --eval
is "$(wc -l <out)" 40 'every image'
refused 'another size' 65 '[0-9]+ x [0-9]+ pixels, its annotation says 7 x' \
	'.images[0].width=7'
refused 'a file that is not there' 65 'made/train2017/gone.jpg: not there' \
	'.images[0].file_name="gone.jpg"'
mkdir made/train2017/folder.jpg && mkfifo made/train2017/pipe.jpg
refused 'a folder' 65 'made/train2017/folder.jpg: not there, or no file' \
	'.images[0].file_name="folder.jpg"'
refused 'a pipe' 65 'made/train2017/pipe.jpg: not there, or no file' \
	'.images[0].file_name="pipe.jpg"'
rm -r made/train2017/folder.jpg made/train2017/pipe.jpg
jq -c '.classes |= .[:1]' sh/train.json >sh/few.json
"$I" ls --json sh/few.json | jq -r .key >few.keys
shown=0
while read -r key; do
	"$I" show sh/few.json "$key" >few.out 2>few.err || shown=$?
	[ $shown -eq 0 ] || break
done <few.keys
is $shown 65 'an annotation of a class that is none'
like "$(cat few.err)" 'annotation: class [0-9]+: there are 1$' 'is not shown'
rm sh/few.json
refused 'no file there' 66 'none of the 40 images' \
	'.images[].file_name|="no/"+.'
refused 'a file elsewhere' 65 'leaves its folder' \
	'.images[0].file_name="../x.jpg"'
refused 'dropped' 0 '1 of 40 images are not there' \
	'.images[0].file_name="gone.jpg"' --on-bad drop
is "$(jq .samples out.d/train.json)" 39 'the others are there'
refused 'boxes outside' 0 '2 boxes are empty or outside' \
	'.annotations[0].bbox=[500,1,2,2]|.annotations[1].bbox=[1,1,0,2]'
expect_status 64 'no images given' "$I" pack -o x $J
expect_status 64 'labels' "$I" pack -o x --labels keys $J made/train2017
printf '{"images":[{"id":1' >cut.json
expect_status 65 'half a file' "$I" pack -o x cut.json made/train2017
one_line err 'one line'

# ---- real sets
for set in coco128:instances_coco128.json:128:126:80 \
	coco-pixabay:instances.json:30:28:17; do
	name=${set%%:*} rest=${set#*:}
	if ! have_data "$name/images.tar"; then
		skip 6 "no shared/data/$name"
		continue
	fi
	json=${DATA%/*}/${rest%%:*} rest=${rest#*:}
	expect_status 0 "$name: pack" "$I" pack -o "$name" "$json" "$DATA"
	expect_status 0 "$name: verify" "$I" verify --full "$name/train.json"
	is "$(jq .samples "$name/train.json"):$(jq '.classes|length' \
		"$name/train.json")" "${rest%%:*}:${rest##*:}" "$name: samples, classes"
	"$I" order "$name/train.json" --epochs 1 -b 1 | cut -f2 | sort -u >n
	is "$(wc -l <n)" "$(echo "$rest" | cut -d: -f2)" \
		"$name: images with objects"
	"$I" ls "$name/train.json" | cut -f1 | tr '\n' ' ' |
		xargs "$I" cat --json "$name/train.json" |
		jq -cS 'del(.ann)' | sort >have
	jq -cS '.images[]|{h:.height,id,w:.width}' "$json" | sort >want
	same want have "$name: sizes and ids"
	expect_status 0 "$name: feed" "$I" feed "$name/train.json" -b 2 \
		--limit-steps 3
done
done_testing
