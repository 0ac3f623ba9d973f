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

twelve=$(plan 12)
sixteen=$(plan 16)
ok "$([ "$twelve" -lt "$sixteen" ]; echo $?)" "16 images take more than 12 ($twelve, $sixteen MiB)"
for case in "$((twelve + 1)) 12" "$((sixteen + 1)) 16" "$((sixteen - 2)) 12" '90000 96'; do
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
# shellcheck disable=SC2086
expect_status 71 'not one image fits' "$w" fit $small --room 20
like "$(cat err)" '^accel-worker: memory: one image at a time takes [0-9]+ MiB of the 20 of a rank \(--room\): ' 'says what it takes'
one_line err 'in one line'
# shellcheck disable=SC2086
expect_status 64 'a micro-batch that is given' "$w" fit $small --micro 8
# shellcheck disable=SC2086
expect_status 64 'a batch that cannot be cut' "$w" fit $small --world 5
done_testing
