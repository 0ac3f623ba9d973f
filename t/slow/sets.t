#!/bin/sh
# Data sets of others, as their SOURCE.md and their tables say: what they hold
# is packed, verified, listed and read back with the same bytes; their pictures
# decode to the pixels recorded there, and what is broken is named and refused.
# A set that is not there is skipped.
TOP=${TOP:-$(dirname "$0")/../..}
. "$TOP/t/lib/tap.sh"

I=$BIN/imgshard
P=$BIN/t/29-pixels.t

# Columns of a table of tab-separated columns with a headline, by their names.
columns() {
	awk -F'\t' -v OFS='\t' -v names="$2" '
		NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i
			n = split(names, want, " "); next }
		{ for (i = 1; i <= n; i++)
			printf "%s%s", $at[want[i]], i < n ? OFS : "\n" }' "$1"
}

# Paths in the first column as keys of shards, without the folder $1.
keys() {
	awk -F'\t' -v OFS='\t' -v folder="$1" '{
		if (index($1, folder) == 1)
			$1 = substr($1, length(folder) + 1)
		sub(/\.[^.\/]*$/, "", $1)
		gsub(/[^A-Za-z0-9_\/+-]/, "_", $1)
		print }'
}

# pack a split and hold what it says beside the table "want" (key, label, bytes,
# width, height), and the bytes of its members beside "sums" (key, SHA-256).
packs() {
	what=$1
	manifest=$2
	split=$(basename "$manifest" .json)
	shift 2
	expect_status 0 "$what: packed" "$I" pack -q -f -o "$(dirname "$manifest")" \
		--split "$split" "$@"
	expect_status 0 "$what: sound" "$I" verify --full "$manifest"
	"$I" ls "$manifest" | sort >got
	sort want >wanted
	same got wanted "$what: $(wc -l <got) samples: keys, labels, bytes, sizes"
	rm -rf members
	mkdir members
	for t in "${manifest%.json}"-*.tar; do
		tar -xf "$t" -C members
	done
	(cd members && find . -type f ! -name '*.cls' ! -name '*.json' |
		sed 's|^\./||' | xargs sha256sum | sed 's/\.[a-z]* *$//' |
		awk -v OFS='\t' '{ print $2, $1 }' | sort) >got
	sort sums >wanted
	same got wanted "$what: the bytes of each"
	rm -rf members
}

# The same once more: nothing differs.
again() {
	what=$1
	dir=$2
	shift 2
	expect_status 0 "$what: once more" "$I" pack -q -o again "$@"
	expect_status 0 "$what: the same files" diff -r "$dir" again
	rm -rf again
}

# Read and decode an epoch: $3 pictures come out.
feeds() {
	expect_status 0 "$1: an epoch is fed" to fed "$I" feed "$2" --epochs 1 \
		--batch 10 --size 32 --tail exact
	status=0
	"$I" read "$2" --epochs 1 --batch 10 --tail exact >stream || status=$?
	is "$status $(tar -tf stream 2>/dev/null | grep -c -e 'jpg$' -e 'png$')" \
		"0 $3" "$1: an epoch is read"
	expect_status 0 "$1: and decoded" from stream "$I" decode --eval \
		--size 32 --batch 10
	rm -f fed stream
}

# ---- imagenette224: a tar of tars, a flat tar with a list of labels
if have_data imagenette224; then
	columns "$DATA/manifest.tsv" \
		'file class_index bytes width height sha256 split' >all
	awk -F'\t' '$7 == "train"' all | keys train/ >train
	cut -f1-5 train >want
	cut -f1,6 train >sums
	packs 'tar of tars' nette/train.json "$DATA/train_nested.tar"
	again 'tar of tars' nette "$DATA/train_nested.tar"
	is "$(grep -o '"name":"n[0-9]*"' nette/train.json | cut -d'"' -f4 |
		tr '\n' ' ')" \
		'n01440764 n02102040 n02979186 n03028079 n03417042 ' 'its classes'
	feeds 'tar of tars' nette/train.json 1250
	awk -F'\t' '$7 == "val"' all | keys val/ >valid
	cut -f1-5 valid >want
	cut -f1,6 valid >sums
	packs 'flat tar' nette/val.json "$DATA/val_flat.tar" \
		--classes nette/train.json --labels "$DATA/val_ground_truth.tsv"
	feeds 'flat tar' nette/val.json 400
	rm -rf nette
else
	skip 17 'data: imagenette224 is not here'
fi

# ---- imagenet1k-samples: classes of the thousand, pixels of djpeg and of
# torchvision
if have_data imagenet1k-samples; then
	columns "$DATA/manifest.tsv" 'file wnid bytes width height sha256' |
		keys train/ >all
	cut -f2 all | sort -u >classes
	awk -F'\t' -v OFS='\t' 'NR == FNR { id[$1] = NR - 1; next }
		{ $2 = id[$2]; print }' classes all >train
	cut -f1-5 train >want
	cut -f1,6 train >sums
	packs 'photographs' k/train.json "$DATA/images.tar"
	packs 'with a list of classes' k/train.json "$DATA/images.tar" \
		--classes classes
	feeds 'photographs' k/train.json 100
	expect_status 0 'as rows' "$I" pack -o rows --jpeg rows "$DATA/images.tar"
	expect_status 0 'sound' "$I" verify --full rows/train.json
	"$I" ls rows/train.json | cut -f1,2,4,5 | sort >got
	cut -f1,2,4,5 want | sort >wanted
	same got wanted 'rows: keys, labels, sizes'
	mkdir photos
	tar -xf "$DATA/images.tar" -C photos
	columns "$DATA/decode.tsv" \
		'file djpeg_image djpeg_pnm_sha256 pil_rgb_mean' >wanted
	(cd photos && cut -f1 "$tap_dir/wanted" | xargs "$P" pnm) >got
	same got wanted 'pixels of djpeg, means of Pillow'
	files=$(columns "$DATA/ref_files.tsv" file)
	# shellcheck disable=SC2086
	(cd photos && "$P" eval $files) >got
	tail -c +129 "$DATA/ref_resize256_center224.npy" >wanted
	same got wanted 'evaluation crops of torchvision'
	columns "$DATA/ref_files.tsv" \
		'crop_left crop_top crop_width crop_height hflip file' |
		while read -r line; do
			# shellcheck disable=SC2086
			(cd photos && "$P" crop $line)
		done >got
	tail -c +129 "$DATA/ref_crop_resize224.npy" >wanted
	same got wanted 'train crops of torchvision'
	rm -rf photos rows k
else
	skip 17 'data: imagenet1k-samples is not here'
fi

# ---- class folders with train/ and another split
for set in caltech101:val:800 cifar10-jpg:test:10000; do
	name=${set%%:*}
	n=${set##*:}
	other=${set%:*}
	other=${other#*:}
	if ! have_data "$name"; then
		skip 11 "data: $name is not here"
		continue
	fi
	tables='file class_index bytes width height sha256'
	[ "$name" = caltech101 ] ||
		tables='file class_index bytes bytes bytes sha256_first16'
	columns "$DATA/manifest.tsv" "$tables" >all
	is "$(wc -l <all | tr -d ' ')" "$n" "$name: its table"
	for split in train $other; do
		grep "^$split/" all | keys "$split/" >part
		cut -f1-5 part >want
		cut -f1,6 part >sums
		if [ "$name" = cifar10-jpg ]; then # its table has less
			awk -F'\t' -v OFS='\t' '{ print $1, $2, $3, 32, 32 }' \
				part >want
			mkdir plain
			tar -xf "$DATA/images.tar" -C plain "$split"
			(cd "plain/$split" && find . -type f | sed 's|^\./||' |
				xargs sha256sum) | awk -v OFS='\t' '{ print $2, $1 }' |
				keys '' >sums
			awk -F'\t' -v OFS='\t' '{ print $1, substr($2, 1, 16) }' \
				sums | sort >got
			cut -f1,6 part | sort >wanted
			same got wanted "$name: $split: the sums of its table"
			rm -rf plain
		fi
		set -- "$DATA/images.tar"
		[ "$split" = train ] || set -- "$@" --classes s/train.json
		packs "$name: $split" "s/$split.json" "$@"
	done
	feeds "$name" "s/$other.json" "$(wc -l <want | tr -d ' ')"
	rm -rf s
done

# ---- COCO: pictures alone; sizes are those of the annotations
for name in coco128 coco-pixabay; do
	if ! have_data $name; then
		skip 8 "data: $name is not here"
		continue
	fi
	json=$DATA/instances.json
	[ -e "$json" ] || json=$DATA/instances_coco128.json
	mkdir plain
	tar -xf "$DATA/images.tar" -C plain
	tr -d '\n' <"$json" | grep -o '{[^{}]*"file_name"[^{}]*}' |
		sed 's/^{\(.*\)}$/,\1,/; s/": */":/g' | awk '{
			match($0, /"file_name":"[^"]*"/)
			name = substr($0, RSTART + 13, RLENGTH - 14)
			match($0, /"width":[0-9]*/)
			w = substr($0, RSTART + 8, RLENGTH - 8)
			match($0, /"height":[0-9]*/)
			print name "\t" w "\t" substr($0, RSTART + 9, RLENGTH - 9)
		}' | keys '' | sort >sizes
	(cd plain && find . -type f | sed 's|^\./||' | xargs sha256sum) |
		awk -v OFS='\t' '{ print $2, $1 }' | keys '' >sums
	(cd plain && find . -type f | sed 's|^\./||' | xargs wc -c) |
		awk -v OFS='\t' '$2 != "total" { print $2, $1 }' | keys '' | sort |
		awk -F'\t' -v OFS='\t' 'NR == FNR { w[$1] = $2; h[$1] = $3; next }
			{ k = $1; sub(/.*\//, "", k)
			print $1, "-1", $2, w[k], h[k] }' sizes - >want
	tar -cf flat.tar -C plain .
	if [ -d plain/train2017 ]; then # one folder is no class
		keys train2017/ <want >some && mv some want
		keys train2017/ <sums >some && mv some sums
		tar -cf flat.tar -C plain/train2017 .
	fi
	packs $name c/train.json flat.tar
	again $name c flat.tar
	feeds $name c/train.json "$(wc -l <want | tr -d ' ')"
	like "$(cat c/train.json)" "\"samples\":$(wc -l <sizes | tr -d ' ')," \
		"$name: as many as its annotations list"
	rm -rf plain c
done

# ---- WebDataset shards
if have_data webdataset-shards; then
	for t in tendata mpdata compressed; do
		cp "$DATA/$t.tar" .
		chmod u+w $t.tar
		expect_status 0 "$t: an index for others" "$I" index --dali $t.tar
		sed -n "/\"$t.tar\"/,/\"content\"/p" "$DATA/expected.json" |
			sed -n 's/^ *"\([^":]*\)",*$/\1/p' >wanted
		tail -n +2 $t.idx | awk '{ k = $NF; sub(/^\.\//, "", k); d = ""
			if (match(k, /.*\//)) { d = substr(k, 1, RLENGTH)
				k = substr(k, RLENGTH + 1) }
			sub(/\..*/, "", k); print d k }' >got
		same got wanted "$t: $(wc -l <got) samples in their order"
	done
	cp "$DATA/imagenette-a-000000.tar" .
	chmod u+w imagenette-a-000000.tar
	expect_status 0 'a shard of images' "$I" index imagenette-a-000000.tar
	expect_status 0 'sound' "$I" verify --full imagenette-a.json
	"$I" ls imagenette-a.json | cut -f1,3 >got
	sed -n '/"imagenette-a-000000.tar"/,$p' "$DATA/expected.json" | awk '
		/^   "[^"]*": \{/ { split($0, a, "\""); key = a[2] }
		/"jpg": \{/ { jpg = 1 }
		jpg && /"size"/ { gsub(/[^0-9]/, ""); print key "\t" $0; jpg = 0 }
		' >wanted
	same got wanted "$(wc -l <got) keys and sizes"
	feeds 'a shard of others' imagenette-a.json 40
	expect_status 0 'packed anew' "$I" pack -o w --order sorted \
		imagenette-a-000000.tar
	"$I" cat w/train.json 000007 >got
	tar -xOf imagenette-a-000000.tar 000007.jpg >wanted
	same got wanted 'the same picture'
else
	skip 13 'data: webdataset-shards is not here'
fi

# ---- tar-edge: whatever a tar is, one line or shards
if have_data tar-edge; then
	bad=
	n=0
	for t in "$DATA"/*/*; do
		status=0
		"$I" pack -q -f -o e "$t" >out 2>err || status=$?
		case $status in
		65 | 66) [ "$(wc -l <err)" -ge 1 ] || bad="$bad $t:silent" ;;
		*) bad="$bad $t:$status" ;;
		esac
		n=$((n + 1))
	done
	is "$bad" '' "$n odd tars without images are refused"
else
	skip 1 'data: tar-edge is not here'
fi

# ---- jpeg-edge: each file taken or refused as Pillow did, pixels of djpeg
# edge TABLE FOLDER: "bad" becomes the list of differences
edge() {
	columns "$1" 'file kind components djpeg_image djpeg_pnm_sha256 pil_result pil_rgb_mean' >wanted
	(cd "$2" && cut -f1 "$tap_dir/wanted" | xargs "$P" pnm) >got
	awk -F'\t' 'NR == FNR { image[$1] = $2; sum[$1] = $3; mean[$1] = $4; next }
		{ ours = image[$1] ~ /^error/ ? "refused" : "ok"
		  pil = $6 == "ok" ? "ok" : "refused" }
		ours != pil { print $1 ": " ours; next }
		ours == "ok" { n++ }
		ours == "ok" && mean[$1] != $7 { print $1 ": mean" }
		ours == "ok" && $2 == "jpeg" && $3 != 4 &&
			(image[$1] != $4 || sum[$1] != $5) { print $1 ": pixels" }
		END { print n " taken" }' got wanted
}
if have_data jpeg-edge; then
	E=$DATA
	# GIF and WebP are kinds of file that are not read here; the last one is
	# refused by Pillow 9.4 for its EXIF, which newer ones pass over.
	is "$(edge "$E/expected.tsv" "$E")" 'misnamed/n02105855_1_is_gif.JPEG: refused
misnamed/n02105855_2_is_webp.JPEG: refused
pillow/truncated_exif_dpi.jpg: ok
98 taken' 'as Pillow and djpeg, but for three'
	mkdir hostile
	tar -xf "$E/fuzz.tar" -C hostile
	is "$(edge "$E/fuzz_expected.tsv" hostile)" \
		'mozilla__vuln-images-hal.jpeg: refused
94 taken' 'hostile ones, but for a GIF'
	mkdir tree
	columns "$E/expected.tsv" file | while read -r f; do
		mkdir -p "tree/$(dirname "$f")"
		cp "$E/$f" "tree/$f"
	done
	mv hostile tree
	n=$(find tree -type f | wc -l | tr -d ' ')
	expect_status 65 'packed: refused' "$I" pack -o j tree
	is "$(grep -c ': tree/[^:]*: ' err)" 20 'twenty are named'
	expect_status 65 'too many to drop' "$I" pack -o j --on-bad drop \
		--max-bad 181 tree
	expect_status 0 'dropped' "$I" pack -o j --on-bad drop --max-bad 182 tree
	like "$(cat out)" " $((n - 182)) samples, .* 182 dropped" 'counted'
	is "$(grep -c ': tree/[^:]*: ' err) $(grep ': tree/' err | sort -u |
		wc -l | tr -d ' ')" '182 182' 'each named once, on a line'
	feeds 'odd pictures' j/train.json $((n - 182))
	expect_status 0 'as rows' "$I" pack -q -o r --jpeg rows --on-bad drop \
		--max-bad 182 tree
	for o in j r; do
		rm -rf $o.files
		mkdir $o.files
		tar -xf $o/train-000000.tar -C $o.files
		(cd $o.files && find . -name '*.[jp][pn]g' | sort | xargs "$P" pnm) >$o.sums
	done
	same r.sums j.sums 'with the same pixels'
else
	skip 13 'data: jpeg-edge is not here'
fi
done_testing
