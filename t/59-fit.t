#!/bin/sh
# accel-worker plan and fit: what a run takes, and the micro-batch that fits.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"

w=$BIN/accel-worker
small='--model resnet18 --size 64 --batch 96'

# plan MICRO: MiB of engine memory, rounded up
plan() {
	# shellcheck disable=SC2086
	"$w" plan $small --micro "$1" --json |
		jq '.weights + .gradients + .momentum + .buffers + .packed + .activations + .scratch | ceil'
}
# shellcheck disable=SC2086
"$w" plan $small --json >plan.json
is "$(jq '[.weights, .gradients, .momentum, .buffers, .packed, .activations, .scratch, .program] | add as $sum
	| $sum' plan.json | cut -c1-8)" "$(jq .memory plan.json | cut -c1-8)" 'the parts of the memory add up'

# Not 12 and 16: what fewer of the one take, the scratch of the other may.
sixteen=$(plan 16)
more=$(plan 24)
ok "$([ "$sixteen" -lt "$more" ]; echo $?)" "24 images take more than 16 ($sixteen, $more MiB)"
for case in "$((sixteen + 1)) 16" "$((more + 1)) 24" "$((more - 2)) 16" '90000 96'; do
	# shellcheck disable=SC2086
	is "$("$w" fit $small --room ${case% *})" "${case#* }" "${case% *} MiB: the largest divisor that fits"
done
# shellcheck disable=SC2086
is "$("$w" fit $small --room 90000 --world 4)" 24 'of what a rank has'
# shellcheck disable=SC2086
is "$("$w" fit -v $small 2>err)" 96 'what this machine has free'
like "$(cat err)" 'micro 96 x accum 1: [0-9]+ MiB of [0-9]+ \((available|control group|limit of the process)\)$' 'says what bounds it'
case "${SANITIZED-}" in
'')
	# shellcheck disable=SC2086,SC3045
	is "$(ulimit -v 1500000 && "$w" fit -v -e ref $small --model resnet50 --size 224 2>err >out && [ "$(cat out)" -lt 96 ] && echo less)" less 'less under a limit'
	like "$(cat err)" '\(limit of the process\)$' 'which is named'
	;;
*) skip 2 'no limits of memory under a sanitizer' ;;
esac

# ---- values computed again
large='--model resnet50 --size 64 --batch 64'
# shellcheck disable=SC2086
for how in '' --recompute; do
	"$w" plan -e ref $large --json $how >"large$how.json" 2>err
	is $? 0 "plan $how" || tap_comment "$(cat err)"
done
is "$(jq .recomputed large.json)" "$(jq .activations large--recompute.json)" 'plan says what is kept if the rest is computed again'
is "$(jq '.activations < 0.5 * (input | .activations)' large--recompute.json large.json)" true 'which is less than half'
is "$(jq .advice large.json)" null 'nothing is needed where there is room'
room=$(jq '(.memory + .memory - .activations + .recomputed) / 2 | floor' large.json)
# shellcheck disable=SC2086
less=$("$w" fit -e ref $large --room "$room")
# shellcheck disable=SC2086
more=$("$w" fit -e ref $large --room "$room" --recompute)
if [ -z "${SANITIZED-}" ]; then
	ok "$([ "$less" -lt "$more" ]; echo $?)" "in $room MiB fit $more images, not $less"
else
	skip 1 'sanitized: a program takes another amount each time'
fi
case "${SANITIZED-}" in
'')
	# shellcheck disable=SC2086,SC3045
	like "$(ulimit -v 4000000 && "$w" plan -e ref $large --size 224 --json 2>err | jq -r .advice)" '^does not fit in here: --recompute does, with [0-9]+ MiB less$' 'plan says when it is needed'
	;;
*) skip 1 'no limits of memory under a sanitizer' ;;
esac
# shellcheck disable=SC2086
expect_status 71 'not one image fits' "$w" fit $small --room 20
like "$(cat err)" '^accel-worker: memory: one image at a time takes [0-9]+ MiB of the 20 of a rank \(--room\): ' 'says what it takes'
one_line err 'in one line'
# shellcheck disable=SC2086
expect_status 64 'a micro-batch that is given' "$w" fit $small --micro 8
# shellcheck disable=SC2086
expect_status 64 'a batch that cannot be cut' "$w" fit $small --world 5

is "$("$w" plan -q -e ref --json --samples 3600 --world 2 --rate 100 MODEL.NAME resnet18 \
	MODEL.WIDTH 8 INPUT.SIZE 32 SOLVER.BATCH 8 SOLVER.EPOCHS 10 | jq .hours)" 0.05 \
	'36000 images at 2 x 100 a second are 180 seconds'

# ---- what a run takes at its peak is what plan says
# peak MODEL SIZE MICRO PRECISION: of three steps, beside the plan
peak() {
	name="$1 at $2, $3 images, $4"
	set -- MODEL.NAME "$1" INPUT.SIZE "$2" SOLVER.BATCH "$3" SOLVER.PRECISION "$4"
	"$w" plan -q --json "$@" >plan.json 2>err &&
		"$w" bench -q -n 1 --warm 1 "$@" >bench.json 2>err
	is $? 0 "$name" || tap_comment "$(cat err)"
	is "$(jq -s '.[1].engine_bytes / 1048576 - (.[0] | .weights + .gradients + .momentum +
		.buffers + .packed + .activations + .scratch) | . >= 0 and . < 0.1' plan.json bench.json)" \
		true 'the engine holds the parts of the plan and no more'
	is "$(jq -s '.[1].peak_rss / 1048576 / .[0].memory | . > 0.97 and . < 1.03' plan.json bench.json)" \
		true 'the process takes what the plan says within 3 %' ||
		tap_comment "$(jq -s -c '[.[0].memory, .[1].peak_rss / 1048576]' plan.json bench.json)"
}
if [ -n "${SANITIZED-}" ] || [ ! -e "$BIN/engine-cpu.so" ]; then
	skip 11 'memory: of the cpu engine, without a sanitizer'
else
	"$w" plan -q --json --world 2 MODEL.NAME resnet18 INPUT.SIZE 64 SOLVER.BATCH 32 >plan.json &&
		"$BIN/accel-launch" -n 2 -- "$BIN/allreduce-ring" -- "$w" bench -q -n 1 --warm 1 \
			MODEL.NAME resnet18 INPUT.SIZE 64 SOLVER.BATCH 16 >bench.json 2>err
	is $? 0 'two ranks' || tap_comment "$(cat err)"
	is "$(jq -s '.[1].peak_rss / 1048576 / .[0].memory | . > 0.97 and . < 1.03' plan.json bench.json)" \
		true 'each takes what the plan says, gradients once and their sums' ||
		tap_comment "$(jq -s -c '[.[0].memory, .[1].peak_rss / 1048576]' plan.json bench.json)"
	peak resnet18 64 16 fp32
	peak resnet18 64 24 bf16
	peak resnet50 96 4 fp32
fi
done_testing
