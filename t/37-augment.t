#!/bin/sh
# Augmentation through the programs: what feed says and does, that training takes
# it, and that nothing of it moves with threads, ranks or interruptions.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"

make_data
ALL='INPUT.POLICY trivial INPUT.JITTER 0.4,0.4,0.4,0.1 INPUT.GREY 0.1
	INPUT.ERASE 0.5 INPUT.MIXUP 0.2 INPUT.CUTMIX 1 INPUT.REPEAT 4'

heads() {
	grep -ao '{"__metadata__":{[^}]*}.*}}*' "$1" | grep -a '"t":"batch"'
}

# ---- the same bytes
# shellcheck disable=SC2086
for t in 1 3 8; do
	feed none --threads $t $ALL >"bytes$t" 2>err
	is $? 0 "feed with everything, $t threads"
done
same bytes1 bytes3 '1 and 3 threads'
same bytes1 bytes8 '1 and 8 threads'
# shellcheck disable=SC2086
feed none --epochs 1-1 $ALL 2>err >second
is "$(tail -c 20000 second | head -c 15000 | cksum)" \
	"$(tail -c 20000 bytes1 | head -c 15000 | cksum)" 'the second epoch alone'
for key in 'POLICY trivial' 'POLICY rand' 'POLICY auto' 'JITTER 0,0,0,0.5' \
	'GREY 1' 'ERASE 1' 'MIXUP 1' 'CUTMIX 1' 'REPEAT 2'; do
	# shellcheck disable=SC2086
	feed none INPUT.${key% *} "${key#* }" 2>err | cksum
done >sums
feed none 2>err | cksum >>sums
is "$(sort -u sums | wc -l | tr -d ' ')" 10 'each key changes something'
feed none INPUT.POLICY rand INPUT.POLICY_OPS 3 2>err | cksum >>sums
feed none INPUT.POLICY rand INPUT.POLICY_MAGNITUDE 29 2>err | cksum >>sums
is "$(sort -u sums | wc -l | tr -d ' ')" 12 'so do operations and magnitude'

# ---- what is said
heads bytes1 >h
is "$(grep -ac '"erase":{"dtype":"I32","shape":\[16,4\]' h)" 8 \
	'rectangles of every frame'
is "$(grep -ac '"mix":"mixup","mix.lambda":"[01]\.*[0-9e.-]*"' h)" \
	"$((8 - $(grep -ac '"mix":"cutmix"' h)))" 'mixup or cutmix'
feed none INPUT.CUTMIX 1 2>err >f
like "$(heads f | head -n 1)" \
	'"mix":"cutmix","mix.bottom":"[0-9]+","mix.lambda":"0\.[0-9]+","mix.left":"[0-9]+","mix.right":"[0-9]+","mix.top":"[0-9]+"' \
	'a box'
feed none 2>err >f
is "$(heads f | grep -ac 'mix\|erase')" 0 'nothing is said of what is not done'
# shellcheck disable=SC2086
"$BIN/imgshard" feed shards/val.json -c "$CONFIG" --eval $ALL \
	INPUT.EVAL_SIZE 40 INPUT.RESIZE 44 >f 2>err
is $? 0 'evaluation'
is "$(heads f | grep -ac 'mix\|erase')" 0 'has nothing of it'
like "$(heads f | head -n 1)" '"shape":\[16,40,40,3\]' 'and a size of its own'
"$BIN/imgshard" feed shards/val.json -c "$CONFIG" --eval \
	INPUT.SIZE 40 INPUT.RESIZE 44 >g 2>err
same f g 'is as without'

# ---- views
"$BIN/imgshard" order shards/train.json -c "$CONFIG" --epochs 1 \
	INPUT.REPEAT 4 >o 2>err
is $? 0 'order'
is "$(awk '{ print $2 }' o | sort | uniq -c | awk '{ print $1 }' | sort -u)" 4 \
	'each image of an epoch four times'
is "$(awk '{ print $2 }' o | sort -u | wc -l | tr -d ' ')" 16 \
	'a fourth of the images'
"$BIN/imgshard" read shards/train.json -c "$CONFIG" --epochs 1 --rank 1 \
	--world 4 INPUT.REPEAT 4 2>err | tar -tf - 2>/dev/null | grep 'cls$' |
	head -n 4 | sort -u | wc -l | tr -d ' ' >n
is "$(cat n)" 4 'a rank of four sees each of a step once'
expect_status 64 'five views of 16' feed none INPUT.REPEAT 5
like "$(cat err)" 'batch of 16 does not divide by INPUT.REPEAT 5' 'says so'

# ---- training
# shellcheck disable=SC2086
{
	run whole $ALL SOLVER.LABEL_SMOOTHING 0.1
	is $? 0 'a run with everything'
	run again $ALL SOLVER.LABEL_SMOOTHING 0.1
	equal whole again 'twice'
	for _ in 1 2; do
		feed cut $ALL SOLVER.LABEL_SMOOTHING 0.1 2>cut.feed |
			worker cut --max-steps 3 $ALL SOLVER.LABEL_SMOOTHING 0.1 \
				2>cut.err
	done
	run cut $ALL SOLVER.LABEL_SMOOTHING 0.1
	is $? 0 'complete'
	equal whole cut 'interrupted at steps 3 and 6'
	for key in 'ERASE 0' 'MIXUP 0' 'CUTMIX 0'; do
		run "no-${key% *}" $ALL SOLVER.LABEL_SMOOTHING 0.1 INPUT.$key
		differ whole "no-${key% *}" "another run without ${key% *}"
	done
}
jq -se 'map(select(.phase == "train")) | all(.loss > 0 and .loss < 20)' \
	whole/metrics.jsonl >out 2>&1
is $? 0 'losses are numbers'

# ---- what the worker refuses
feed none INPUT.CUTMIX 1 2>err >f
spoil() { # EXPRESSION MESSAGE
	perl -pe "$1" f | worker bad INPUT.CUTMIX 1 2>err
	is $? 65 "status for $2"
	like "$(cat err)" "$2" 'says so'
	rm -rf bad
}
spoil 's/"mix":"cutmix"/"mix":"cutmux"/' 'mix "cutmux": not known'
spoil 's/"mix.lambda":"0\./"mix.lambda":"7./' 'mix.lambda: not in 0 to 1'
# shellcheck disable=SC2016
spoil 's/"mix.right":"(\d+)"/sprintf "\"mix.right\":\"%s\"", 9 x length $1/e' \
	'mix.right: outside of the image'
worker bad INPUT.CUTMIX 0.5 <f 2>err
is $? 78 'batches of another recipe'
like "$(cat err)" 'batches: made with INPUT.CUTMIX 1, here it is 0.5' 'say so'
worker bad INPUT.CUTMIX 1 INPUT.POLICY rand <f 2>err
like "$(cat err)" 'made with INPUT.POLICY none, here it is rand' 'by name'
worker bad INPUT.CUTMIX 1 SEED 1 <f 2>err
like "$(cat err)" 'made with SEED 0, here it is 1' 'of another seed too'
worker bad INPUT.CUTMIX 1 INPUT.STD 1,1,1 INPUT.RESIZE 50 <f 2>err
is $? 0 'what the network does, and evaluation, may differ'

# ---- settings
expect_status 78 'jitter of three numbers' feed none INPUT.JITTER 1,1,1
expect_status 78 'a hue beyond the circle' feed none INPUT.JITTER 0,0,0,0.6
expect_status 64 'no such policy' feed none INPUT.POLICY trivail
expect_status 78 'resized below the crop' feed none INPUT.EVAL_SIZE 48
done_testing
