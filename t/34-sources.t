#!/bin/sh
# imgshard pack: sources of all kinds, from folders and tars made here and from
# the data sets where they are; labels; PNG files on their whole way.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
. "$TOP/t/lib/pictures.sh"

I=$BIN/imgshard

picture grey.jpg
picture pic.png

# Each file differs, by bytes behind the end of the image.
image() { { cat grey.jpg && echo "$1"; } >"$1"; }
mkdir -p src/n02 src/n01 flat
for i in 1 2 3 4 5; do
	image src/n01/n01_$i.JPEG
	image src/n02/n02_$i.JPEG
	image flat/v_0000000$i.JPEG
done
cp pic.png src/n02/n02_9.JPEG
cp grey.jpg src/n01/n01_9.png
utar() { tar --format=ustar --sort=name "$@"; }

# key, label of each sample
list() { "$I" ls "$1" | cut -f1,2 | sort; }
# the manifest, without what its order is called
manifest() { sed 's/"order":"[a-z]*"/"order":""/' "$1"; }

# ---- the same images as folders, as a tar of them, as a tar of tars
expect_status 0 'class folders' "$I" pack -o a src
manifest a/train.json >want
mkdir inner
for c in n01 n02; do
	utar -C src/$c -cf inner/$c.tar .
done
utar -C inner -cf nested.tar n02.tar n01.tar
utar -C src -cf folders.tar .
tar --format=pax --pax-option='comment:=x' -cf whole.tar src
tar --format=gnu -cf gnu.tar src
for t in nested folders whole gnu; do
	expect_status 0 "$t.tar" "$I" pack -f -o b $t.tar
	manifest b/train.json >got
	same got want "$t.tar: the same manifest"
	same b/train-000000.tar a/train-000000.tar "$t.tar: the same bytes"
done
like "$(cat out)" ' 12 samples, 2 classes, .* 1 png,' 'counted'
expect_status 0 'told with -v' "$I" pack -v -f -o b nested.tar
like "$(cat err)" 'nested\.tar: a tar of 2 tars.* 12 images' 'what it is'
mkdir own && cp -r src/n01 src/n02 own
for c in n01 n02; do
	utar -C own -cf inner/$c.tar $c
done
utar -C inner -cf nested2.tar n01.tar n02.tar
expect_status 0 'inner tars with folders' "$I" pack -f -o b nested2.tar
same b/train-000000.tar a/train-000000.tar 'the same bytes'

# ---- compressed: in its own order
gzip -c nested.tar >nested.tar.gz
gzip -c folders.tar >folders.tar.gz
for t in nested folders; do
	expect_status 0 "$t.tar.gz" "$I" pack -f -j3 -o z $t.tar.gz
	like "$(cat err)" 'in sequence' "$t.tar.gz: its order is kept, and told"
	list z/train.json >got
	list a/train.json >want
	same got want "$t.tar.gz: keys and labels"
	expect_status 0 "$t.tar.gz: sound" "$I" verify --full z/train.json
	like "$(cat z/train.json)" '"order":"source"' "$t.tar.gz: so recorded"
done
"$I" cat z/train.json n01/n01_3 >got
same got src/n01/n01_3.JPEG 'bytes'
head -c 300 nested.tar.gz >cut.tar.gz
expect_status 65 'gzip cut off' "$I" pack -o c cut.tar.gz
one_line err 'one line'
{ head -c 200 nested.tar.gz && printf 'XXXX' && tail -c +205 nested.tar.gz; } \
	>bad.tar.gz
expect_status 65 'gzip damaged' "$I" pack -o c bad.tar.gz
{ cat nested.tar.gz && gzip -c </dev/null; } >two.tar.gz
expect_status 0 'two gzip streams' "$I" pack -o two two.tar.gz

# ---- tars cut off, everywhere
size=$(wc -c <nested.tar)
wrong=
n=512
step=4093
[ -z "${SANITIZED:-}" ] || step=16001
while [ $n -lt $((size - 20480)) ]; do
	head -c $n nested.tar >cut.tar
	"$I" pack -o c -f cut.tar >out 2>err
	status=$?
	[ $status -eq 65 ] || [ $status -eq 66 ] || wrong="$wrong $n:$status"
	n=$((n + step))
done
is "$wrong" '' 'a tar of tars cut off is refused'

# ---- splits in one source
mkdir -p both && cp -r src both/train && cp -r src both/validation &&
	rm both/validation/n01/n01_1.JPEG
utar -cf both.tar both
for s in both both.tar; do
	expect_status 0 "$s: train" "$I" pack -f -o s $s
	like "$(cat out)" ' 12 samples, 2 classes' "$s: what is in train/"
	same s/train-000000.tar a/train-000000.tar "$s: keys without train/"
	expect_status 0 "$s: val" "$I" pack -f -o s --split val \
		--classes s/train.json $s
	like "$(cat out)" ' 11 samples, 2 classes' "$s: validation/ is val"
	expect_status 65 "$s: no such split" "$I" pack -o s --split trial $s
	one_line err 'one line'
done

# ---- flat, with labels and without
expect_status 0 'a folder of files' "$I" pack -o f flat
like "$(cat out)" ' 5 samples, 0 classes' 'without classes'
like "$(cat err)" '5 images have no class' 'told'
is "$(list f/train.json | head -n 1)" 'v_00000001	-1' 'label -1'
is "$(tar tf f/train-000000.tar | grep -c cls)" 0 'and no .cls'
expect_status 0 'sound' "$I" verify --full f/train.json
"$I" read f/train.json --epochs 1 --batch 5 >stream
is "$(tar tf stream 2>/dev/null | grep -c jpg)" 5 'read'
expect_status 0 'decoded' from stream "$I" decode --eval --size 8 --batch 5
utar -C flat -cf flat.tar v_00000003.JPEG v_00000001.JPEG \
	v_00000005.JPEG v_00000002.JPEG v_00000004.JPEG
printf 'n02\nn01\nn02\nn01\nn02\n' >words
want='v_00000001	1
v_00000002	0
v_00000003	1
v_00000004	0
v_00000005	1'
for s in flat flat.tar; do
	expect_status 0 "$s: a list of words" "$I" pack -f -o f --labels words $s
	is "$(list f/train.json)" "$want" 'in the order of the names'
done
expect_status 0 'with the classes of train' "$I" pack -f -o f --split val \
	--classes a/train.json --labels words flat.tar
is "$(list f/val.json)" "$want" 'the same numbers'
printf '490\n361\n490\n361\n490\n' >numbers
expect_status 65 'bare numbers' "$I" pack -o g --labels numbers flat.tar
like "$(cat err)" 'numbers: line 1: "490" is a bare number.*--synsets' \
	'are refused, with the way out'
expect_status 65 'nor with classes' "$I" pack -o g --labels numbers \
	--classes a/train.json flat.tar
printf '361 n01 tench\n490\tn02\n' >synsets
expect_status 0 'with a map' "$I" pack -f -o f --labels numbers \
	--synsets synsets flat.tar
is "$(list f/train.json)" "$want" 'they are classes'
printf '361 n01\n' >synsets
expect_status 65 'a number that the map lacks' "$I" pack -o g \
	--labels numbers --synsets synsets flat.tar
printf '361 n01\n361 n02\n' >synsets
expect_status 65 'a number twice in it' "$I" pack -o g \
	--labels numbers --synsets synsets flat.tar
expect_status 64 'a map for nothing' "$I" pack -o g --synsets synsets flat.tar
head -n 4 words >short
expect_status 65 'a line too few' "$I" pack -o g --labels short flat.tar
like "$(cat err)" 'short: 4 labels for 5 images' 'counted'
{ cat words && echo n01; } >long
expect_status 65 'a line too many' "$I" pack -o g --labels long flat.tar
printf 'n02\nn01\nn02\nn07\nn02\n' >other
expect_status 65 'a class of no list' "$I" pack -o g --labels other \
	--classes a/train.json flat.tar
like "$(cat err)" 'other: line 4: "n07"' 'named'
expect_status 66 'no such file' "$I" pack -o g --labels nix flat.tar

# tables
printf 'file\tclass_index\twnid\nv_00000002.JPEG\t7\tn01\n' >table
for i in 1 3 5; do printf 'v_0000000%d.JPEG\t3\tn02\n' $i; done >>table
printf 'val/v_00000004.JPEG\t7\tn01\n' >>table
printf 'v_00000004 n01 3 4 5\nv_00000001,n02\nv_00000002 n01\nv_00000003,n02 1\nv_00000005 n02\n' >words
printf 'image\tlabel\n' >columns
for i in 1:1 2:0 3:1 4:0 5:1; do
	printf 'v_0000000%s.JPEG\t%s\n' ${i%:*} ${i#*:}
done >>columns
for t in table words columns; do
	expect_status 0 "a table: $t" "$I" pack -f -o f --labels $t \
		--classes a/train.json flat.tar
	is "$(list f/train.json)" "$want" 'its labels'
done
expect_status 65 'numbers of no list' "$I" pack -o g --labels columns flat.tar
like "$(cat err)" '--classes' 'say what is missing'
sed 's/\t1$/\t2/' columns >large
expect_status 65 'a number too large' "$I" pack -o g --labels large \
	--classes a/train.json flat.tar
grep -v 00000003 table >missing
expect_status 65 'an image that is not in the table' "$I" pack -o g \
	--labels missing flat.tar
like "$(cat err)" 'no label for 1 of 5 images.*v_00000003' 'named'
{ cat table && tail -n 1 table; } >twice
expect_status 65 'one that is twice' "$I" pack -o g --labels twice flat.tar
{ cat table && printf 'v_6.JPEG\t3\tn02\n'; } >extra
expect_status 0 'one that is no file' "$I" pack -f -o f --labels extra flat.tar
like "$(cat err)" 'extra: 1 labels of files that are not there' 'told'

# ---- samples of others
long=deep/$(printf '%070d' 0)
mkdir -p "wds/$long"
long=$long/$(printf '%070d' 7)
for k in a b c $long; do
	image wds/"$k.JPG"
	printf '{"key":"%s"}' "$k" >"wds/$k.json"
	printf '1\n' >"wds/$k.cls"
	echo text >"wds/$k.txt"
done
rm wds/b.json
printf 0 >wds/a.cls
mv wds/c.JPG wds/c.png
printf '{}' >wds/__info__.json
(cd wds && tar --format=gnu -cf ../wds.tar __info__.json a.txt a.JPG a.json \
	a.cls b.cls b.JPG c.json c.cls c.png "$long.cls" "$long.JPG" "$long.json" &&
	tar --format=pax -cf ../pax.tar __info__.json a.cls a.json a.JPG b.JPG \
		b.cls c.cls c.png c.json "$long.json" "$long.JPG" "$long.cls")
expect_status 0 'samples, GNU long names' "$I" pack -f -o w wds.tar
like "$(cat out)" ' 4 samples, 2 classes' 'all of them'
is "$(list w/train.json | sed 's/0\{60,\}//g')" 'a	0
b	1
c	1
deep//7	1' 'keys, labels'
is "$(tar tf w/train-000000.tar | sort | tr '\n' ' ' | sed 's/0\{60,\}//g')" \
	'a.cls a.jpg a.json b.cls b.jpg c.cls c.jpg c.json deep//7.cls deep//7.jpg deep//7.json ' \
	'members: named by their contents, json kept'
tar xOf w/train-000000.tar a.json >got
same got wds/a.json 'as it was'
cp w/train-000000.tar first.tar
expect_status 0 'pax, another order of members' "$I" pack -f -o w pax.tar
same w/train-000000.tar first.tar 'the same bytes'
gzip pax.tar
expect_status 0 'compressed' "$I" pack -f -o w pax.tar.gz
expect_status 0 'sound' "$I" verify --full w/train.json
tar xOf w/train-000000.tar c.json >got
same got wds/c.json 'json'
expect_status 0 'indexed anew' "$I" index -f w/train-000000.tar
is "$(list w/train.json | sed 's/0\{60,\}//g' | tail -n 1)" 'deep//7	1' \
	'with the same labels'
printf cat >wds/a.cls
printf 'n01' >wds/b.cls
(cd wds && tar --format=ustar -cf ../names.tar a.cls a.JPG b.cls b.JPG)
expect_status 0 'classes by name' "$I" pack -f -o w names.tar
is "$(list w/train.json | tr '\n' ' ')" 'a	0 b	1 ' 'in byte order'
(cd wds && tar --format=ustar -cf ../mixed.tar a.cls a.JPG c.cls c.png)
expect_status 65 'names and numbers' "$I" pack -o v mixed.tar
(cd wds && tar --format=ustar -cf ../bad.tar a.cls a.JPG b.cls b.txt)
expect_status 65 'a sample without an image' "$I" pack -o v bad.tar
like "$(cat err)" 'bad\.tar: b\.cls: .*without an image' 'named'
expect_status 0 'left out if that is wanted' "$I" pack -o v --on-bad drop bad.tar
like "$(cat out)" ' 1 samples, .* 1 dropped' 'counted'
(cd wds && ln -s a.JPG l.JPG && tar --format=ustar -cf ../link.tar a.JPG l.JPG)
expect_status 65 'a link' "$I" pack -o v2 link.tar
like "$(cat err)" 'l\.JPG: link' 'named'
expect_status 65 'not a tar' "$I" pack -o v2 grey.jpg
expect_status 65 'two sources with one key' "$I" pack -o v2 wds.tar names.tar

# ---- PNG files on the whole way
mkdir -p png/x && cp pic.png png/x/a.JPEG
expect_status 0 'PNG' "$I" pack -o p png
"$I" feed p/train.json --eval --size 8 --batch 1 >png.frames
is $? 0 'fed'
"$I" read p/train.json --epochs 1 --batch 1 | "$I" decode --eval --size 8 \
	--batch 1 >frames
is $? 0 'decoded'
head -c 60 pic.png >png/x/b.png
{ head -c 41 pic.png && printf X && tail -c +43 pic.png; } >png/x/c.png
expect_status 65 'damaged' "$I" pack -o q png
like "$(cat err)" 'x/b\.png: png: cut off' 'cut off'
like "$(cat err)" 'x/c\.png: png: IDAT: ' 'changed'

# ---- real data
# manifest.tsv as "crc32 label key", sorted
if have_data imagenette224; then
	expect_status 0 'ImageNet, tar of tars' "$I" pack -o in \
		"$DATA/train_nested.tar"
	expect_status 0 'flat, with its truth' "$I" pack -o in --split val \
		--classes in/train.json --labels "$DATA/val_ground_truth.tsv" \
		"$DATA/val_flat.tar"
	expect_status 0 'sound' "$I" verify --full in/train.json
	awk -F'\t' '$1 == "train" { sub(/\.[A-Za-z]*$/, "", $2)
		print $2 "\t" $3 "\t" $8 "\t" $5 "\t" $6 }' "$DATA/manifest.tsv" |
		sort >want
	"$I" ls in/train.json | sort >got
	same got want 'keys, labels, bytes, sizes are those of manifest.tsv'
	# the digests: of the files as they come out again
	mkdir out.d && tar xf in/train-000000.tar -C out.d
	(cd out.d && find . -name '*.jpg' -exec sha256sum {} +) |
		sed 's/ [ *]\.\// /; s/\.jpg$//' | sort -k2 >got
	awk -F'\t' '$1 == "train" { sub(/\.[A-Za-z]*$/, "", $2)
		print $9 " " $2 }' "$DATA/manifest.tsv" | sort -k2 >want
	same got want 'and so are their SHA-256'
	awk -F'\t' 'NR > 1 { sub(/\.[A-Za-z]*$/, "", $1); print $1 "\t" $2 }' \
		"$DATA/val_ground_truth.tsv" | sort >want
	list in/val.json >got
	same got want 'labels of val'
	awk -F'\t' 'NR > 1 { print $3 }' "$DATA/val_ground_truth.tsv" >words
	expect_status 0 'the truth as a list' "$I" pack -f -o in --split val \
		--classes in/train.json --labels words "$DATA/val_flat.tar"
	list in/val.json >got
	same got want 'the same labels'
	awk -F'\t' 'NR > 1 { print $2 + 17 }' "$DATA/val_ground_truth.tsv" \
		>numbers
	awk -F'\t' 'NR > 1 { print $1 + 17 "\t" $2 }' "$DATA/classes.tsv" >map
	expect_status 0 'and as numbers' "$I" pack -f -o in --split val \
		--classes in/train.json --labels numbers --synsets map \
		"$DATA/val_flat.tar"
	list in/val.json >got
	same got want 'the same labels'
else
	skip 12 'data: imagenette224 is not here'
fi
if have_data webdataset-shards; then
	expect_status 0 'a shard of others' "$I" pack -f -o web \
		"$DATA/imagenette-a-000000.tar"
	mkdir web.in web.out
	tar xf "$DATA/imagenette-a-000000.tar" -C web.in
	tar xf web/train-000000.tar -C web.out
	is "$(diff -r web.in web.out)" '' 'the same members with the same bytes'
	expect_status 65 'one without images' "$I" pack -o web2 \
		"$DATA/tendata.tar"
else
	skip 3 'data: webdataset-shards is not here'
fi
if have_data caltech101; then
	for s in train:600 val:200; do
		expect_status 0 "caltech101, ${s%:*}" "$I" pack -o cal \
			--split "${s%:*}" "$DATA/images.tar"
		like "$(cat out)" " ${s#*:} samples, 20 classes" 'its count'
		awk -F'\t' -v s="${s%:*}/" 'index($1, s) == 1 {
			sub(/^[a-z]*\//, "", $1); sub(/\.jpg$/, "", $1)
			print $1 "\t" $2 }' "$DATA/manifest.tsv" | sort >want
		list "cal/${s%:*}.json" >got
		same got want 'keys and labels are those of manifest.tsv'
	done
else
	skip 6 'data: caltech101 is not here'
fi
if have_data jpeg-edge/misnamed; then
	expect_status 0 'misnamed files' "$I" pack -o mis --on-bad drop "$DATA"
	like "$(cat out)" ' 2 samples, .* 2 png, 2 dropped' 'by their contents'
	like "$(cat err)" 'is_gif\.JPEG: GIF: neither JPEG nor PNG' 'others are named'
else
	skip 3 'data: jpeg-edge is not here'
fi
if have_data tar-edge; then
	wrong=
	for f in "$DATA"/*/*; do
		timeout 10 "$I" pack -q -f -o edge --on-bad drop "$f" >out 2>err
		status=$?
		[ $status -le 78 ] && [ $status -ne 70 ] ||
			wrong="$wrong ${f##*/}:$status"
	done
	is "$wrong" '' 'tars of all kinds: taken or refused'
else
	skip 1 'data: tar-edge is not here'
fi
done_testing
