#!/bin/sh
# imgshard pack: names, folders and files as others make them, which no data set
# of ours has.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
. "$TOP/t/lib/pictures.sh"

I=$BIN/imgshard
picture grey.jpg
picture pic.png

# image FOLDER NAME: it differs from others by bytes behind its end
image() {
	mkdir -p "$1"
	{ cat grey.jpg && echo "$1 $2"; } >"$1/$2"
}
keys() { "$I" ls "$1" | cut -f1 | sort | tr '\n' ' '; }

# ---- names
image 'odd/a cat' 'x 1.jpg'
image 'odd/-dash' '-x.jpg'
image 'odd/100%' '%s.jpg'
image "odd/it's" 'q".jpg'
image "odd/$(printf 'n\nl')" 1.jpg
long=$(printf 'l%.0s' $(seq 200))
image "odd/$long" "$long.jpg"
mkdir odd/empty
expect_status 0 'odd names' "$I" pack -o a odd
like "$(cat err)" '^imgshard: 1 of 7 classes have no image$' 'an empty class is one'
is "$(keys a/train.json)" "$(printf '%s\n' -dash/-x 100_/_s a_cat/x_1 it_s/q_ \
	"$long/$long" n_l/1 | sort | tr '\n' ' ')" 'their keys'
is "$(jq -r '.classes[2].name, .classes[6].name' a/train.json | tr '\n' '|')" \
	"a cat|$(printf 'n\nl' | tr '\n' '|')|" 'classes keep their names'
expect_status 0 'sound' "$I" verify --full a/train.json
"$I" cat a/train.json "$long/$long" >got
same got "odd/$long/$long.jpg" 'a name of 401 bytes: its bytes'
is "$(tar tf a/train-000000.tar | grep -c "^$long/$long.jpg$")" 1 'tar finds it'

# ---- keys that would be the same
image twins/猫 1.jpg
image twins/犬 1.jpg
image twins/犬 'b+c.jpg'
expect_status 0 'names of two classes, each one character' \
	"$I" pack -v -o b twins
like "$(cat err)" 'written as \+XX' 'is told'
is "$(keys b/train.json)" '+E7+8A+AC/1 +E7+8A+AC/b+2Bc +E7+8C+AB/1 ' 'spelled'
expect_status 0 'sound' "$I" verify --full b/train.json
tar -C twins -cf twins.tar .
expect_status 0 'the same in a tar' "$I" pack -f -o c twins.tar
same c/train-000000.tar b/train-000000.tar 'the same shard'
printf '\357\273\277猫/1.jpg\t猫\n犬/1.jpg\t犬\n犬/b+c.jpg\t犬\n' >labels
expect_status 0 'and in a table with a byte order mark' \
	"$I" pack -f --labels labels -o c twins.tar
same c/train-000000.tar b/train-000000.tar 'the same shard'
image alone/猫 1.jpg
"$I" pack -q -f -o c alone
is "$(keys c/train.json)" '___/1 ' 'not where none is the same'
image stems/x 1.jpg
cp pic.png stems/x/1.png
expect_status 65 'two extensions' "$I" pack -o d stems
like "$(cat err)" 'x/1\.jpg and stems/x/1\.png: both have the key x/1: rename one$' 'both named'

# ---- folders
for s in train valid Test; do
	image splits/$s/n1 $s.jpg
	image splits/$s/n2 $s.jpg
done
expect_status 0 'train, valid, Test' "$I" pack -o e splits
is "$(keys e/train.json)" 'n1/train n2/train ' 'train'
"$I" pack -q --split val -o e splits
is "$(keys e/val.json)" 'n1/valid n2/valid ' 'valid is val'
"$I" pack -q --split test -o e splits
is "$(keys e/test.json)" 'n1/Test n2/Test ' 'in any case'
tar -cf splits.tar splits
"$I" pack -q -f --split val -o e splits.tar
is "$(keys e/val.json)" 'n1/valid n2/valid ' 'in a tar'
image inner/images/n1 1.jpg
image inner/images/n2 1.jpg
expect_status 0 'a folder too high' "$I" pack -f -o e inner
like "$(cat err)" 'one class alone, "images"' 'is suspected'

# ---- what is no file
image links/n1 1.jpg
image links/n2 1.jpg
ln -s nowhere.jpg links/n1/2.jpg
mkfifo links/n2/pipe.jpg
ln -s 1.jpg links/n2/3.jpg
ln -s nowhere links/nothing
expect_status 65 'a link to nothing and a pipe' "$I" pack -o f links
like "$(cat err)" 'links/n1/2\.jpg: neither a file nor a folder, nor a link to one' 'are named'
like "$(cat err)" '^imgshard: 2 files are no usable images' 'both'
expect_status 0 'and dropped' "$I" pack --on-bad drop -o f links
is "$(keys f/train.json)" 'n1/1 n2/1 n2/3 ' 'a link to a file is one'
expect_status 65 'one image' "$I" pack -o g grey.jpg
like "$(cat err)" '^imgshard: grey\.jpg: an image: give its folder, or a tar$' \
	'is told from a tar'
mkdir -p kinds/x
printf 'GIF89a' >kinds/x/1.jpg
printf 'RIFF....WEBPVP8 ' >kinds/x/2.jpg
printf '<html>' >kinds/x/3.jpg
: >kinds/x/4.jpg
expect_status 65 'other kinds' "$I" pack -o g kinds
is "$(sed -n 's/.*kinds.x.\(.*\): neither.*/\1/p' err | sort | tr '\n' ' ')" \
	'1.jpg: GIF 2.jpg: WebP 3.jpg: a page 4.jpg: empty ' 'are named'

# ---- lists
printf '\357\273\277n1\r\nn2\r\n' >classes
expect_status 0 'a list with a byte order mark and CR' \
	"$I" pack --on-bad drop --max-bad 2 --classes classes -o h links
rm links/nothing

# ---- COCO
mkdir images
cp grey.jpg images/1.jpg
cp grey.jpg images/2.jpg
coco() {
	printf '%s' "$1" >x.json
	rm -rf i
	"$I" pack -q -o i x.json images
}
whole='{"images":[{"id":1,"width":9,"height":7,"file_name":"1.jpg"},
	{"id":2,"width":9,"height":7,"file_name":"2.jpg"}],
	"categories":[{"id":3,"name":"a"},{"id":1,"name":"b"}],
	"annotations":[{"id":5,"image_id":1,"category_id":3,"bbox":[1,1,2,3]}]}'
coco "$whole" >/dev/null
cp i/train.json want
for how in 's/\("[a-z_]*id":[0-9]*\)/\1.0/g' \
	's/\("\(width\|height\)":[0-9]*\)/\1.0/g' \
	's/"bbox"/"area":null,"iscrowd":null,"segmentation":null,"bbox"/' \
	"$(printf '1s/^/\357\273\277/')"; do
	expect_status 0 "COCO: $how" coco "$(echo "$whole" | sed "$how")"
	same i/train.json want 'the same'
done
for how in 's/"id":5/"id":5.5/' 's/"id":5/"id":"5"/' 's/"id":5/"id":1e300/' \
	's/"image_id":1/"image_id":true/' 's/"width":9/"width":9.5/' \
	's/\[1,1,2,3\]/[NaN,1,2,3]/' 's/\[1,1,2,3\]/[]/' 's/,"bbox.*\]}/}]}/'; do
	expect_status 65 "COCO: $how" coco "$(echo "$whole" | sed "$how")"
	one_line err 'one line'
done
done_testing
