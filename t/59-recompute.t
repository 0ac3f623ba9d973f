#!/bin/sh
# accel-worker train --recompute: the run of one that keeps everything.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"

make_data
worker_run plain
is $? 0 'a run' || tap_comment "$(cat plain.err)"
worker_run again --recompute
is $? 0 'one with --recompute' || tap_comment "$(cat again.err)"
equal plain again 'they agree'
is "$(jq -c '[.step, .loss, .grad_norm]' again/metrics.jsonl)" \
    "$(jq -c '[.step, .loss, .grad_norm]' plain/metrics.jsonl)" 'and their logs'
worker_run cut --recompute --max-steps 3
is $? 75 'stopped after 3 steps'
worker_run cut
is $? 0 'and gone on without it'
equal plain cut 'agrees, too'
done_testing
