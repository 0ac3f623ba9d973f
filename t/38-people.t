#!/bin/sh
# imgshard for people: the progress line. What can be looked at in a data set.
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

done_testing
