#!/bin/sh
# imgshard for people: the progress line, what a data set is like.
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
is "$(grep -c '<rect.*: [0-9.]* images</title>' un.svg)" \
	"$(grep -o '<rect [^>]*><title>[0-9]' un.svg | wc -l | tr -d ' ')" 'bars have tips'
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

done_testing
