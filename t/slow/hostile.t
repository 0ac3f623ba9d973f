#!/bin/sh
# Whole programs on files with bytes changed, cut out or cut off: manifests,
# indexes, shards, source tars, epoch streams. Each run ends soon with success or
# with status 65 (66: a name was hit; 76: a pipe ended too soon) and says why in
# plain lines; the kind that reads one thing says one line. SEED and RUNS choose
# other changes and more.
TOP=${TOP:-$(dirname "$0")/../..}
. "$TOP/t/lib/tap.sh"

I=$BIN/imgshard
SEED=${SEED:-1}
RUNS=${RUNS:-25}
# no sizes that a file claims become memory
# shellcheck disable=SC2039,SC3045
[ -n "${SANITIZED:-}" ] || ulimit -v 3000000
"$BIN/imgsynth" imagenet made --classes 3 --train 15 --val 0 --size-min 30 \
	--size-max 60 >/dev/null
mv made/train src
expect_status 0 'shards to spoil' "$I" pack -q -o good --shard-count 8 src
expect_status 0 'as rows' "$I" pack -q -o rows --jpeg rows --shard-count 8 src
expect_status 0 'as pixels' "$I" pack -q -o raw --raw 24 --shard-count 8 src
"$I" ls good/train.json | awk -F'\t' '{
		image = image (NR > 1 ? "," : "") sprintf("{\"id\":%d,\"file_name\":\"%s.jpg\",\"width\":%d,\"height\":%d}", NR, $1, $4, $5)
		ann = ann (NR > 1 ? "," : "") sprintf("{\"id\":%d,\"image_id\":%d,\"category_id\":7,\"bbox\":[5,3,10,20],\"area\":%d,\"iscrowd\":0}", NR, NR, NR * 50)
	} END { print "{\"categories\":[{\"id\":7,\"name\":\"disc\"}],\"images\":[" image "],\"annotations\":[" ann "]}" }' >coco.json
expect_status 0 'for detection' "$I" pack -q -o coco --shard-count 8 coco.json src
tar -cf folders.tar -C src .
mkdir inner
for c in src/*/; do
	c=$(basename "$c")
	tar -cf "inner/$c.tar" -C "src/$c" .
done
tar -cf nested.tar -C inner .
cat good/train-00000[01].tar >samples.tar
gzip -nc folders.tar >folders.tgz
"$I" read good/train.json --epochs 1 --batch 5 >stream

# spoil FILE: FILE changed in place, differently for each n
spoil() {
	awk -v n="$(wc -c <"$1")" -v seed="$((SEED * 100000 + n))" 'BEGIN {
		srand(seed)
		at = int(rand() * (rand() < .5 ? n : n < 2048 ? n : 2048))
		kind = rand()
		if (kind < .1) { print "cut", at; exit }
		if (kind < .2) { print "out", at, 1 + int(rand() * 600); exit }
		for (k = 1 + int(rand() * 3); k > 0; k--) {
			p = rand()
			b = p < .2 ? 255 : p < .4 ? 0 : p < .6 ? 48 + int(rand() * 10) : \
				int(rand() * 256)
			printf "set %d %03o\n", at, b
			at = rand() < .5 ? at + 1 : int(rand() * n)
		}
	}' >how
	while read -r kind at b; do
		case $kind in
		set) printf '%b' "\\0$b" | dd of="$1" bs=1 seek="$at" conv=notrunc 2>/dev/null ;;
		cut) head -c "$at" "$1" >part && cat part >"$1" ;;
		out) { head -c "$at" "$1" && tail -c +$((at + b)) "$1"; } >part &&
			cat part >"$1" ;;
		esac
	done <how
}

ended= # the status of a writer that ended too soon, where there may be one
# run LINES COMMAND...: "bad" gets what went wrong. LINES: how many at most.
run() {
	most=$1
	shift
	status=0
	timeout 60 "$@" <"${input:-/dev/null}" >out 2>err || status=$?
	runs=$((runs + 1))
	lines=$(wc -l <err)
	case $status in
	0) most=1000 ;;
	65 | 66 | "$ended") refused=$((refused + 1)) ;;
	*) bad="$bad
$what: $status: $* ($(tr '\n' ';' <how)) $(head -c 300 err)" ;;
	esac
	if [ "$lines" -gt "$most" ] || { [ "$status" -ne 0 ] && [ "$lines" -lt 1 ]; }
	then
		bad="$bad
$what: $((lines)) lines: $* ($(tr '\n' ';' <how))"
	fi
	[ "$(tr -d '\n -~' <err | wc -c)" -eq 0 ] || bad="$bad
$what: not plain: $* ($(tr '\n' ';' <how))"
}

on_set() {
	run 1 "$I" ls m/train.json
	run 100 "$I" verify --full m/train.json
	run 1 "$I" stats m/train.json
	run 1 "$I" show m/train.json '#5' --batch 5 -o x.ppm
	run 1 "$I" cat m/train.json '#3' '#9'
	run 1 "$I" order m/train.json --epochs 1 --batch 5
	run 1 "$I" read m/train.json --epochs 1 --batch 5
	run 1 "$I" read m/train.json --epochs 1 --batch 5 --verify never
	run 1 "$I" feed m/train.json --epochs 1 --batch 5 --size 32
	run 1 "$I" feed m/train.json --epochs 1 --batch 5 --size 32 --verify never
	run 100 "$I" feed m/train.json --epochs 1 --batch 5 --size 32 --eval \
		--on-bad replace --max-bad 5
	run 1 "$I" index -f m/train-000000.tar m/train-000001.tar
}

# begin NAME; while another; do ...; done; report
begin() {
	what=$1
	bad=
	runs=0
	refused=0
	n=0
}
another() {
	n=$((n + 1))
	[ $n -le "$RUNS" ]
}
report() {
	is "$bad" '' "$what: $runs runs, $refused refused"
}

for file in train.json train.index.safetensors train-000000.tar; do
	begin "$file"
	while another; do
		rm -rf m
		cp -r good m
		spoil m/$file
		on_set
	done
	report
done

for from in rows raw coco; do
	begin "a shard of $from"
	while another; do
		rm -rf m
		cp -r "$from" m
		spoil m/train-000000.tar
		on_set
	done
	report
done

begin 'annotations'
while another; do
	cp coco.json x.json
	spoil x.json
	run 25 "$I" pack -q -f -o p x.json src
	run 25 "$I" pack -q -f -o p --on-bad drop x.json folders.tar
done
report

for t in folders.tar nested.tar samples.tar folders.tgz; do
	begin $t
	while another; do
		cp $t x.tar
		spoil x.tar
		run 21 "$I" pack -q -f -o p --on-bad drop x.tar
		run 1 "$I" index --dali x.tar
	done
	report
done

begin 'epoch streams'
while another; do
	cp stream x
	spoil x
	input=x
	run 1 "$I" decode --size 32 --batch 5
	ended=76
	# shellcheck disable=SC2016
	run 1 sh -c 'cat | "$0" decode --eval --size 32 --batch 5' "$I"
	ended=
done
input=
report

begin 'pictures'
while another; do
	f=$(find src -type f | sort | sed -n "$((n % 15 + 1))p")
	rm -rf one
	mkdir -p one/c
	cp "$f" one/c/a.jpg
	spoil one/c/a.jpg
	run 2 "$I" pack -q -f -o p one
	run 2 "$I" pack -q -f -o p --jpeg rows one
	run 2 "$I" pack -q -f -o p --check header one
done
report
done_testing
