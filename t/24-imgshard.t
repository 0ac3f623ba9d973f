#!/bin/sh
# imgshard pack, index, verify, ls, cat, order, read: on a folder made here.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
. "$TOP/t/lib/pictures.sh"

I=$BIN/imgshard

picture rgb.jpg
picture grey.jpg
picture pic.png

# 3 classes; every file differs, by bytes behind the end of the image.
make_folder() {
	mkdir -p "$1/n02" "$1/n01" "$1/n10/deep"
	for i in 1 2 3 4 5 6 7 8 9; do
		{ cat rgb.jpg && echo "$i"; } >"$1/n02/n02_$i.JPEG"
		{ cat grey.jpg && echo "$i"; } >"$1/n01/n01_$i.jpg"
		{ cat rgb.jpg && echo "1$i"; } >"$1/n10/deep/x.$i.jpeg"
	done
	cp pic.png "$1/n01/n01_png.JPEG"
	touch "$1/n01/.DS_Store"
}
make_folder src

# ---- pack
expect_status 0 'pack' "$I" pack -o sh --shard-count 10 src
one_line out 'it prints one line'
like "$(cat out)" '^sh/train\.json: 28 samples, 3 classes, 3 shards, .* 1 png, 0 dropped, dataset [0-9a-f]{32}$' \
	'what it made'
is "$(cd sh && echo * .*)" \
	'train-000000.idx train-000000.tar train-000001.idx train-000001.tar train-000002.idx train-000002.tar train.index.safetensors train.json . ..' \
	'no other files'
expect_status 73 'a split that is there is not touched' "$I" pack -o sh src
like "$(cat err)" 'train\.json.*-f' 'and it says how'
cp -r sh first
expect_status 0 'but with -f' "$I" pack -f -o sh --shard-count 10 -j8 src
for f in first/*; do
	same "$f" "sh/${f#first/}" "again, 8 threads: ${f#first/}"
done
expect_status 0 'one thread' "$I" pack -o one -j1 --shard-count 10 src
same one/train.json first/train.json 'the same manifest'
same one/train-000001.tar first/train-000001.tar 'the same shard'
expect_status 0 'fewer shards' "$I" pack -f -o one src
is "$(echo one/*.tar)" one/train-000000.tar 'the old ones are gone'
expect_status 0 'another seed' "$I" pack -o seed --seed 1 src
cmp -s seed/train-000000.tar one/train-000000.tar
is $? 1 'another order'

# ---- what tar makes of it
tar xf one/train-000000.tar 2>tar.err
is "$(cat tar.err)" '' 'tar is content'
same n02/n02_3.jpg src/n02/n02_3.JPEG 'it unpacks'
is "$(cat n10/deep/x_4.cls)" 2 'class of a file: rank of its folder'
is "$(ls n01/n01_png*)" 'n01/n01_png.cls
n01/n01_png.png' 'a PNG is called one'
tar tf one/train-000000.tar >names
tar --format=ustar --numeric-owner --owner=0 --group=0 --mtime=@0 \
	--mode=0444 --no-recursion -T names -cf gnu.tar 2>tar.err
same gnu.tar one/train-000000.tar 'GNU tar makes the same bytes'
expect_status 0 'sorted' "$I" pack -o sorted --order sorted --split val src
is "$(tar tf sorted/val-000000.tar | sed -n '1p;2p;$p')" 'n01/n01_1.cls
n01/n01_1.jpg
n10/deep/x_9.jpg' 'in byte order of the keys'

# ---- index
mkdir re && cp sh/*.tar re
expect_status 0 'index' "$I" index re/*.tar
for n in 0 1 2; do
	same re/train-00000$n.idx sh/train-00000$n.idx "DALI index $n"
done
same re/train.index.safetensors sh/train.index.safetensors 'native index'
expect_status 73 'again' "$I" index re/*.tar
cp sh/train.json re
expect_status 0 'over an older manifest' "$I" index -f re/*.tar
same re/train.json sh/train.json 'keeps what tars do not say'
is "$(sed -n 1p re/train-000000.idx)" 'v1.2 10' 'first line of a .idx'
is "$(sed -n 2p re/train-000000.idx | cut -d' ' -f1-3,5-6)" \
	'cls 512 1 jpg 1536' 'second line'
expect_status 66 'no such tar' "$I" index re/nix.tar
one_line err 'one line'

# ---- ls, cat
expect_status 0 'ls' "$I" ls sorted/val.json
is "$(sed -n '1p;10p;11p' out)" "n01/n01_1	0	173	9	7
n01/n01_png	0	73	3	2
n02/n02_1	1	333	20	12" 'key, label, bytes, width, height'
expect_status 0 'ls --json' "$I" ls --json sorted/val.json
like "$(sed -n 10p out)" '"flags":10,.*"key":"n01/n01_png","label":0' \
	'flags: PNG, grey'
"$I" cat sorted/val.json n02/n02_7 '#0' >cat.out
{ cat src/n02/n02_7.JPEG src/n01/n01_1.jpg; } >cat.want
same cat.out cat.want 'cat by key and by number'
expect_status 66 'an unknown key' "$I" cat sorted/val.json n02/nix
like "$(cat err)" 'val\.json: no key "n02/nix"' 'is named'
expect_status 66 'a number too large' "$I" cat sorted/val.json '#28'

# ---- order
expect_status 0 'order' "$I" order sorted/val.json --order seq \
	--epoch 0 --batch 8 --world 2 --rank 1
is "$(cut -f1,2 out | tr '\t\n' ': ')" \
	'4:4 5:5 6:6 7:7 12:12 13:13 14:14 15:15 20:20 21:21 22:22 23:23 28:0 29:1 30:2 31:3 ' \
	'rows of rank 1, wrapped'
expect_status 0 'by KEY VALUE' "$I" order sorted/val.json --order seq \
	--epoch 0 --world 2 --rank 1 SOLVER.BATCH 8 SOLVER.TAIL exact
is "$(cut -f1 out | tail -n 2 | tr '\n' ' ')" '26 27 ' 'exact: half of four'
for r in 0 1 2; do
	"$I" order one/train.json --epoch 3 --seed 5 --batch 6 --tail exact \
		--world 3 --rank $r
done | sort -n | cut -f2 >three
"$I" order one/train.json --epoch 3 --seed 5 --batch 6 --tail exact |
	cut -f2 >alone
same three alone 'three ranks see what one does'
is "$(sort -n alone | uniq | wc -l | tr -d ' ')" 28 'each sample once'
expect_status 64 'impossible batch' "$I" order one/train.json --batch 7 \
	--world 2 --rank 0
one_line err 'one line'
like "$(cat err)" '6 or 8' 'names the nearest'
expect_status 64 'no such seed' "$I" order one/train.json --seed \
	18446744073709551615
like "$(cat err)" 'value "18446744073709551615": too large;' 'it is too large'
expect_status 64 'no rank 2 of 2' "$I" order one/train.json --world 2 --rank 2
expect_status 64 'a world and no rank' "$I" order one/train.json --world 2
like "$(cat err)" '^imgshard: --rank and --world: give both or neither' 'is told'
# ranks as launchers say them, by the table of t/69-families.t
order="$I order one/train.json --epoch 0 --batch 8 SOLVER.TAIL drop"
# shellcheck disable=SC2086
{
	$order --rank 1 --world 4 >want
	bare="env -i PATH=$PATH"
	expect_status 0 'torchrun' $bare RANK=1 WORLD_SIZE=4 LOCAL_RANK=1 \
		LOCAL_WORLD_SIZE=4 GROUP_RANK=0 $order
	same out want 'torchrun: its share'
	expect_status 0 'mpirun' $bare OMPI_COMM_WORLD_RANK=1 \
		OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=1 \
		OMPI_COMM_WORLD_LOCAL_SIZE=4 $order
	same out want 'mpirun: its share'
	step='SLURM_JOB_ID=7 SLURM_NTASKS=4 SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=4
		SLURM_LOCALID=1 SLURM_NODEID=0 SLURM_STEP_ID=0
		SLURM_STEP_TASKS_PER_NODE=4 SLURM_STEP_NODELIST=n1'
	expect_status 0 'srun' $bare $step $order
	same out want 'srun: its share'
	expect_status 0 'the command line' $bare $step $order --rank 0 --world 1
	is "$(wc -l <out | tr -d ' ')" 24 'outranks it'
	expect_status 78 'the shell of a batch job' $bare SLURM_JOB_ID=7 \
		SLURM_NTASKS=4 SLURM_PROCID=0 $order
	like "$(cat err)" 'none of its tasks: start with srun' 'is told as by others'
	expect_status 78 'half of a family' $bare RANK=1 $order
	like "$(cat err)" 'RANK is set and WORLD_SIZE is not' 'is named'
}
expect_status 64 'no such order' "$I" order one/train.json --order random
expect_status 64 'unknown key' "$I" order one/train.json SOLVER.BATCHES 8
like "$(cat err)" 'SOLVER\.BATCH' 'names the nearest key'

# ---- read
"$I" read one/train.json --epochs 1-2 --batch 14 --world 2 --rank 1 >r.tar
is $? 0 'read'
tar tf r.tar 2>/dev/null | grep '\.[jp][pn]g$' | sed 's/\.[a-z]*$//' >r.keys
"$I" order one/train.json --epochs 1-2 --batch 14 --world 2 --rank 1 |
	cut -f3 >o.keys
same r.keys o.keys 'the samples of order'
is "$(grep -a -c 'IMGSHARD.v=1' r.tar)" 2 'a header for each epoch'
is "$(grep -a 'IMGSHARD.first=' r.tar | head -n 1)" '20 IMGSHARD.first=7' \
	'with the first position'
is "$(($(wc -c <r.tar) % 10240))" 0 'whole records'
"$I" read one/train.json --epochs 1-2 --batch 14 --world 2 --rank 1 \
	--io-threads 1 >r1.tar
same r1.tar r.tar 'one thread: the same bytes'
expect_status 0 'decoded' from r.tar "$I" decode -q INPUT.SIZE 32
at=$(grep -a -b -o 'IMGSHARD.seed=0' r.tar | tail -n 1 | cut -d : -f 1)
printf 1 | dd of=r.tar bs=1 seek=$((at + 14)) conv=notrunc 2>/dev/null
expect_status 65 'another seed in the second epoch' from r.tar "$I" decode -q INPUT.SIZE 32
like "$(cat err)" 'stdin: global header: IMGSHARD.seed changes inside the stream$' 'told'
dataset=$(sed 's/.*"dataset":"\([0-9a-f]*\)".*/\1/' one/train.json)
"$I" order one/train.json --epochs 3 --batch 7 |
	tail -n +50 | cut -f2 >tail.want
"$I" order one/train.json --epochs 3 --batch 7 --resume \
	"dataset=$dataset,order=global,seed=0,epoch=1,next=21,tail=wrap,group=7" |
	cut -f2 >tail.got
same tail.got tail.want 'resumed at a token'
expect_status 78 'a token of another set' "$I" order one/train.json --batch 7 \
	--resume \
	'dataset=00,order=global,seed=0,epoch=1,next=21,tail=wrap,group=7'
expect_status 0 'no checkpoint yet: from the start' "$I" order one/train.json \
	--batch 7 --epochs 1 --from nothing
is "$(wc -l <out | tr -d ' ')" 28 'all of the epoch'

# ---- verify
expect_status 0 'verify' "$I" verify --full first/train.json
one_line out 'one line'
cp -r first bad
printf X | dd of=bad/train-000001.tar bs=1 seek=1540 conv=notrunc 2>/dev/null
expect_status 65 'a changed byte' "$I" verify bad/train.json
like "$(cat err)" 'train-000001\.tar: offset 1536: n.*: CRC-32' \
	'shard, offset, key'
expect_status 65 'reading stops at it' "$I" read bad/train.json --batch 28 \
	--epochs 1
expect_status 0 'unless told not to look' "$I" read bad/train.json --batch 28 \
	--epochs 1 --verify never
printf X | dd of=bad/train-000001.tar bs=1 seek=0 conv=notrunc 2>/dev/null
cp first/train-000001.tar bad
printf 'X' | dd of=bad/train-000001.tar bs=1 seek=0 conv=notrunc 2>/dev/null
expect_status 65 'a byte of a header' "$I" verify bad/train.json
like "$(cat err)" 'train-000001\.tar: CRC-32' 'the shard is named'
like "$(cat err)" '1 of 3 shards, 0 of 28 samples' 'and counted'
cp first/train-000001.tar bad
echo 'v1.2 0' >bad/train-000001.idx
expect_status 65 "DALI's index is another" "$I" verify --full bad/train.json
like "$(cat err)" 'train-000001\.idx: ' 'is named'
rm bad/train-000001.idx
expect_status 0 'none: nothing to say' "$I" verify --full bad/train.json
size=$(wc -c <first/train-000002.tar)
head -c $((size - 1)) first/train-000002.tar >bad/train-000002.tar
expect_status 65 'a shard one byte short' "$I" verify bad/train.json
is "$(wc -l <err | tr -d ' ')" 2 'is said once'
like "$(cat err)" '1 of 3 shards, 0 of 28' 'and counted'
expect_status 65 'is refused by read' "$I" read bad/train.json --batch 28
one_line err 'with one line'
rm bad/train-000002.tar
expect_status 66 'missing' "$I" read bad/train.json --batch 28
one_line err 'with one line'
cp first/train-000002.tar bad
head -c 5000 first/train.index.safetensors >bad/train.index.safetensors
expect_status 65 'a short index' "$I" ls bad/train.json
one_line err 'with one line'
rm bad/train.index.safetensors
expect_status 66 'a missing index' "$I" ls bad/train.json
expect_status 66 'a missing manifest' "$I" ls bad/nix.json

# ---- tars cut off: at each byte of the first headers, and later
n=0
wrong=''
step=1
[ -z "${SANITIZED:-}" ] || step=13
mkdir cut
while [ $n -lt 1600 ]; do
	head -c $n first/train-000000.tar >cut/c-000000.tar
	"$I" index -q --dali cut/c-000000.tar >/dev/null 2>cut/err
	[ $? -eq 65 ] || [ $n -eq 1024 ] || wrong="$wrong $n"
	[ $n -lt 520 ] && n=$((n + step)) || n=$((n + 61))
done
is "$wrong" '' 'a tar cut off is refused wherever it is cut'
like "$(cat cut/err)" 'c-000000\.tar: offset [0-9]+: ' 'file and offset named'

# ---- bad files
cp -r src worse
echo 'not a picture' >worse/n01/readme.jpg
head -c 320 rgb.jpg >worse/n02/cut.jpg
: >worse/n02/empty.jpg
expect_status 65 'bad files' "$I" pack -o w worse
like "$(cat err)" 'worse/n01/readme\.jpg: neither JPEG nor PNG' 'named'
like "$(cat err)" 'worse/n02/cut\.jpg: ' 'each'
like "$(cat err)" 'worse/n02/empty\.jpg: ' 'of them'
is "$(cd w && echo *)" '*' 'nothing written'
expect_status 0 'dropped' "$I" pack -o w --on-bad drop worse
like "$(cat out)" '28 samples.*3 dropped' 'and counted'
expect_status 65 'too many to drop' "$I" pack -f -o w --on-bad drop \
	--max-bad 2 worse
[ -e w/train.json ]
ok $? 'the split that was there stays'
expect_status 0 'header only: a cut image passes' "$I" pack -o h \
	--check header --on-bad drop worse
like "$(cat out)" '29 samples.*2 dropped' 'counted'
cp -r src twice
cp rgb.jpg twice/n01/n01_1.jpeg
expect_status 65 'two files with one key' "$I" pack -o t twice
like "$(cat err)" 'n01_1\.jpeg and .*n01_1\.jpg: both' 'both are named'

# ---- classes
printf 'n10\tten\nn02\ttwo things\nn01\nn99\n' >classes
expect_status 0 'a list of classes' "$I" pack -o c --classes classes src
like "$(cat err)" '1 of 4 classes have no image' 'an empty one is told'
is "$("$I" ls c/train.json | grep n10/deep/x_1 | cut -f2)" 0 'its order rules'
like "$(cat c/train.json)" '"id":1,"label":"two things","name":"n02"' 'labels'
expect_status 0 'classes of a manifest' "$I" pack -o c --split val \
	--classes c/train.json src
is "$("$I" ls c/val.json | grep n10/deep/x_1 | cut -f2)" 0 'the same'
printf 'n10\nn02\n' >classes
expect_status 65 'a folder not in the list' "$I" pack -o d --classes classes src

# ---- what is not there, what cannot be written
expect_status 66 'no such folder' "$I" pack -o d nix
mkdir empty
expect_status 66 'no class folders' "$I" pack -o d empty
mkdir empty/class
expect_status 66 'no files' "$I" pack -o d empty
expect_status 73 'a file in the way' "$I" pack -o rgb.jpg src
expect_status 64 'no source' "$I" pack -o d
expect_status 64 'a split with a slash' "$I" pack -o d --split a/b src
expect_status 64 'no such check' "$I" pack -o d --check some src
for c in "ls one/train.json" "cat one/train.json n02/n02_1" \
	"order one/train.json --epochs 1 --batch 7" \
	"read one/train.json --epochs 1 --batch 7"; do
	status=0
	# shellcheck disable=SC2086
	"$I" $c >/dev/full 2>err || status=$?
	is $status 74 "full disk: ${c%% *}"
	one_line err 'one line'
	status=0
	# shellcheck disable=SC2086
	"$I" $c >&- 2>err || status=$?
	is $status 74 "closed stdout: ${c%% *}"
done
# shellcheck disable=SC2039,SC3045
(ulimit -f 8 && trap '' XFSZ && "$I" pack -o full src) >out 2>err
is $? 74 'pack: no room'
is "$(ls -A full)" '' 'leaves nothing'

# ---- killed: more than a thousand images, so that it takes its time
mkdir -p many/a
cp -r src/n02 many/a/1
for n in 2 3 4 5 6 7 8; do
	cp -r many/a many/more && mv many/more many/a/$n
done
"$I" pack -o killed many >/dev/null 2>&1 &
pid=$!
while [ ! -d killed ] && kill -0 $pid 2>/dev/null; do :; done
kill -TERM $pid 2>/dev/null
wait $pid
status=$?
if [ $status -eq 0 ]; then
	skip 2 'timing: pack was faster than the signal'
else
	is $status 143 'ended by the signal'
	is "$(ls -A killed)" '' 'leaves nothing'
fi

# ---- real data of others, where they are
if have_data imagenette224; then
	mkdir -p in/a && tar xf "$DATA/val_flat.tar" -C in/a
	expect_status 0 'real photographs' "$I" pack -o in/o in
	like "$(cat out)" ' 400 samples' 'all of them'
	expect_status 0 'sound' "$I" verify --full in/o/train.json
else
	skip 3 'data: imagenette224 is not here'
fi
if have_data webdataset-shards; then
	cp "$DATA/imagenette-a-000000.tar" .
	chmod u+w imagenette-a-000000.tar
	expect_status 0 'a foreign shard' "$I" index imagenette-a-000000.tar
	like "$(cat out)" '^imagenette-a\.json: 40 samples' 'all of it'
	cp "$DATA/compressed.tar" .
	chmod u+w compressed.tar
	expect_status 0 'members of other kinds: .idx alone' "$I" index --dali \
		compressed.tar
	expect_status 65 'no images for a manifest' "$I" index compressed.tar
else
	skip 4 'data: webdataset-shards is not here'
fi
done_testing
