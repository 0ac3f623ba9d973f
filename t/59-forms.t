#!/bin/sh
# accel-worker: forms of convolutions that were timed once are those of every
# later run and of all ranks, so bits are the same; what cannot be kept is told.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"

[ "$ENGINE" = cpu ] || skip_all "onednn: no cpu engine"
unset ACCEL_TUNE
MILLRACE_CACHE=$PWD/cache
export MILLRACE_CACHE
EPOCHS=1
make_data

run first
is $? 0 'a run that makes trials'
is "$(grep -c 'timing the forms' first.err)" 1 'says so once'
set -- cache/*
is $# 1 'a file is kept'
file=$1
cp "$file" known
like "$(cat known)" '^conv wgrad F32-F32 n16 .*	[0-9.]+$' 'of lines'
like "$(cat first/metrics.jsonl)" '"detail":"[0-9a-f]{32}","epoch".*"event":"forms"|"event":"forms".*[0-9a-f]{32}' 'the log has a digest'

worker_run second --max-steps 2
is $? 75 'another one, stopped'
unlike "$(cat second.err)" 'timing' 'makes none'
run second
is $? 0 'and resumed'
unlike "$(cat second.err)" 'timing|forms' 'with the same forms'
equal first second 'the same bits'
same "$file" known 'nothing was added'

worker_run rule --no-tune
ACCEL_TUNE=off worker_run off
is "$(grep -c . rule.err)" 3 'by rule: nothing to tell'
equal rule off 'and the same in every run'

# ---- another choice for one convolution
worker_run third --max-steps 2
awk -F '\t' 'BEGIN { OFS = FS }
    !done && /^conv forward .* 3x3\/2/ {
        $2 = $2 == "convolution" ? "columns-product" : "convolution"
        done = 1
    }
    { print }' known > "$file"
run third
is $? 0 'a run that is resumed with another form'
is "$(grep -c 'other forms than before' third.err)" 1 'says so once'
cp known "$file"

# ---- ranks
rm "$file"
ranks 2 two "--max-steps 2"
is $? 75 'two ranks at once'
is "$(cut -f 1 "$file" | sort | uniq -d)" '' 'time each convolution once'
like "$(cat "$file")" 'conv dgrad F32-F32 n8 ' 'and keep it'
ranks 2 again "--max-steps 2"
equal two again 'the same bits again'

# ---- where nothing can be kept
MILLRACE_CACHE=/dev/null/none
run unkept
is $? 0 'no place for the file: the run is made'
is "$(grep -c 'are not kept' unkept.err)" 1 'and it is told once'

expect_status 0 'a plan of what is not known' "$BIN/accel-worker" plan -e cpu \
    -c "$CONFIG" --classes 4
like "$(cat err)" 'were not timed here yet' 'says so'

done_testing
