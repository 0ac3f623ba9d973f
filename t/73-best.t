#!/bin/sh
# ckpt-merge best: the checkpoint with the best score stays, whatever training
# removes, and is whole at every moment.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
C=$BIN/ckpt-merge
F=$BIN/t/faulty/ckpt-merge
make_step() { "$BIN/t/70-ckpt.t" make "$@"; }
# offer DIR TOP1: with that score
offer() {
    echo "{\"top1\":$2,\"top5\":0.9,\"n\":16}" > score
    expect_status 0 "$1: top1 $2" "$C" best --score score "$1"
}
steps=run/ckpt/step-0000000

make_step run 8 2
make_step run 16 3
make_step run 24 1
echo '{"step":1}' > run/metrics.jsonl
for step in 08 16 24; do
    "$C" -o "$step.sft" "$steps$step"
done

offer "${steps}08" 0.5
is "$(cat out)" 'best step 8 top1 0.5' 'the first one is the best'
is "$(cd run/ckpt/best && echo *)" \
    'rank-00000-of-00002.safetensors rank-00001-of-00002.safetensors score.json state.json' \
    'a checkpoint and its score'
is "$(stat -c %h run/ckpt/best/state.json)" 2 'that takes no room: its files are links'
offer run/ckpt/step-000000016/ 0.75
is "$(cat out)" 'best step 16 top1 0.75' 'a better one'
offer run 0.75
is "$(cat out)" 'best step 16 top1 0.75, not step 24 0.75' 'the newest, not better'
expect_status 0 'join it' "$C" -o best.sft run/ckpt/best
same best.sft 16.sft 'the model of step 16'
is "$(jq -c 'select(.event == "best") | [.step, .by, .score.top1, .score.n, .samples, .phase]' \
    run/metrics.jsonl)" '[8,"top1",0.5,16,64,"event"]
[16,"top1",0.75,16,128,"event"]' 'the log of the run says so'
is "$(head -n 1 run/metrics.jsonl)" '{"step":1}' 'behind what is there'
expect_status 0 'ls' "$C" ls run
is "$(tail -n 1 out)" 'best	step 16	top1 0.75' 'lists it'
expect_status 0 'as JSON' "$C" ls --json run
is "$(tail -n 1 out | jq -c '[.best, .value, .step, .path]')" \
    '["top1",0.75,16,"run/ckpt/best"]' 'with its path'
is "$("$C" ls --newest run)" run/ckpt/step-000000024 'the newest is another'

rm -r run/ckpt/step-000000016
"$C" -o best.sft run/ckpt/best
same best.sft 16.sft 'the step is removed: the best one is still there'
expect_status 0 'verify looks at it, too' "$C" verify run
is "$(wc -l < out | tr -d ' ')" 3 'beside the steps'
expect_status 66 'a step that is gone' "$C" best -s score run/ckpt/step-000000016
offer run/ckpt/best 0.6
is "$(cat out)" 'best step 16 top1 0.6' 'the best one with another score'
offer "${steps}24" 0.7
is "$(cat out)" 'best step 24 top1 0.7' 'and what is better now'
offer "${steps}08" 0.1
expect_status 0 'by another number' "$C" best --by top5 -s score "${steps}08"
like "$(cat out)" 'best step 24 top1 0.7, not step 8' 'which all have'

# ---- at every moment

echo '{"top1":0.65}' > again
for phase in best best.renamed; do
    expect_status 137 "killed at $phase" \
        env ACCEL_FAULT=kill:phase=$phase "$F" best -s again "${steps}24"
    expect_status 0 'the best one is whole' "$C" verify -q run/ckpt/best
done
is "$(jq .score.top1 run/ckpt/best/score.json)" 0.65 'with its score'
echo '{"top1":0.8}' > higher
expect_status 137 'killed before a better one is there' \
    env ACCEL_FAULT=kill:phase=best "$F" best -s higher "${steps}08"
is "$(jq .step run/ckpt/best/score.json)" 24 'the one before is'
expect_status 137 'killed behind' \
    env ACCEL_FAULT=kill:phase=best.renamed "$F" best -s higher "${steps}08"
is "$(jq .step run/ckpt/best/score.json)" 8 'the new one is'
"$C" best -s higher "${steps}24" > /dev/null
is "$(find run/ckpt -name '.*')" '' 'nothing is left of those'

# ---- what is refused

refuse() { # STATUS PATTERN SCORE [OPTION]... DIR
    refuse_status=$1 refuse_like=$2
    echo "$3" > score
    shift 3
    expect_status "$refuse_status" "score $(head -c 40 score)" "$C" best -s score "$@"
    like "$(cat err)" "$refuse_like" 'says why'
    one_line err 'in one line'
}
refuse 65 'top1' '{"top5":0.5}' run
refuse 65 'top1' '{"top1":"x"}' run
refuse 65 'score' '{"top1":1e999}' run
refuse 65 'object' '[0.5]' run
refuse 65 'score' '' run
refuse 78 'chosen by "top1"' '{"AP":0.5}' --by AP run
refuse 66 'nothing' '{"top1":0.5}' nothing
refuse 64 'score' '{"top1":0.5}' score
echo '{' > run/ckpt/best/score.json
refuse 65 'best/score.json' '{"top1":0.5}' run
done_testing
