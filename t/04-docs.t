#!/bin/sh
# What the documents say is so: the README's blocks and the examples of the
# manual pages run, help lists what there is, recipes have the values that
# their comments claim.
#
# A block of the README behind "<!-- test -->" and a display of a page's
# EXAMPLES behind '.\" test' is executed; '.\" needs-data' is one that is not.
# The README's come first, and those of each page run in a copy of the directory
# that they leave, with configs/ in it. Where lines begin with "$ " those are the commands.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"

PATH=$BIN:$PATH
OMP_NUM_THREADS=1 # small work on a machine that may be busy
export PATH OMP_NUM_THREADS

# ---- the README

awk '/^<!-- test -->$/ { want = 1; next }
     want && /^```sh$/ { n++; on = 1; next }
     /^```$/ { on = want = 0 }
     on { print > ("readme-" n ".sh") }' "$TOP/README.md"
mkdir place
cp -R "$TOP/configs" place/
for block in readme-*.sh; do
    (cd place && sh -eu "../$block") > out 2> err
    is $? 0 "README: $block runs" || tap_comment "$(tail -n 5 err)"
    [ "$block" != readme-1.sh ] || cp out readme.out
done
like "$(tail -n 1 readme.out)" '^\{"top1":[0-9.]+,"top5":1(\.0)?,"correct1":[0-9]+,"correct5":16,"n":16\}$' \
    "README: its block ends in a score of 16 images"

# Files and folders that the README names exist.
missing=$(grep -oE "[\`](lib|src|t|configs|bench)/[a-zA-Z0-9_./-]+[\`]" "$TOP/README.md" |
    tr -d '`' | sort -u | while read -r name; do
        [ -e "$TOP/$name" ] || echo "$name"
    done)
is "$missing" "" "README: what it names is there"

# ---- the examples of the pages

# examples PAGE: page-N.sh for each marked display; names of unmarked ones
examples() {
    awk -v stem="$1" '
        /^\.Sh / { inside = $2 == "EXAMPLES" }
        !inside { next }
        /^\.\\" (test|needs-data)$/ { mark = $2; next }
        /^\.Bd -literal/ {
            n++
            if (mark == "")
                print stem ": display " n
            on = mark == "test"
            next
        }
        /^\.Ed/ { on = 0; mark = ""; next }
        on { print > (stem "-" n ".sh") }' "$2"
}
# As a reader sees it: roff escapes resolved, prompts and answers left out.
plain() {
    sed -e 's/\\e/\\/g; s/\\(dq/"/g; s/\\(aq/'"'"'/g; s/\\-/-/g; s/\\&//g' "$1" |
        awk '{ line[NR] = $0; if ($0 ~ /^\$ /) prompts = 1 }
             END {
                 for (i = 1; i <= NR; i++) {
                     s = line[i]
                     if (prompts && !more && s !~ /^\$ /)
                         continue
                     if (!more)
                         sub(/^\$ /, "", s)
                     more = s ~ /\\$/
                     print s
                 }
             }'
}
for page in "$TOP"/man/*.[157]; do
    name=$(basename "$page")
    is "$(examples "$name" "$page")" "" "$name: each example is marked"
    rm -rf copy
    cp -R place copy
    for block in "$name"-*.sh; do
        [ -e "$block" ] || continue
        plain "$block" > example.sh
        (cd copy && sh -eu ../example.sh) > out 2> err
        is $? 0 "$name: example ${block#"$name"-} runs" ||
            tap_comment "$(cat example.sh; tail -n 5 err)"
    done
done

# ---- help

make --no-print-directory -C "$TOP" help > goals
missing=$(cat "$TOP/Makefile" "$TOP/tools/check.mk" |
    awk '/^\.PHONY:/ { for (i = 2; i <= NF; i++) print $i }' |
    grep -vE '^(FORCE|lint-.*)$' | sort -u | while read -r goal; do
        grep -qE "^  ([a-z-]+, )*$goal([ ,]|\$)" goals || echo "$goal"
    done)
is "$missing" "" "make help: every goal"
missing=$(sed -n 's/^\([A-Z]*\) *=.*/\1/p' "$TOP/Makefile" | sed '/^OBJ$/q' |
    grep -vE '^(VERSION|B|OBJ)$' | while read -r name; do
        grep -q "[ ]$name=" goals || echo "$name"
    done)
is "$missing" "" "make help: every variable"

make --no-print-directory -C "$TOP/pipelines" help > goals
is $? 0 "make -C pipelines help"
missing=$(cat "$TOP"/pipelines/*.mk "$TOP/pipelines/Makefile" |
    sed 's/\\$//' | awk '/^\.PHONY:/ { on = 1 }
        on { for (i = 1; i <= NF; i++) print $i }
        on && !/imagenet/ { on = 0 } /^$/ { on = 0 }' |
    grep -E '^[a-z]' | grep -vxE 'help|programs|recipe' | sort -u |
    while read -r goal; do
        grep -qE "(^|[ ,])$goal([ ,]|\$)" goals || echo "$goal"
    done)
is "$missing" "" "make -C pipelines help: every goal"
missing=$(sed -n '/^BIN /q; s/^\([A-Z_]*\) *=.*/\1/p' \
    "$TOP/pipelines/common.mk" | while read -r name; do
        grep -qE "^  $name .*\((file|command line|default|environment)\)" goals ||
            echo "help: $name"
        grep -qE "^\.It Ev .*\<$name\>" "$TOP/man/pipelines.7" ||
            echo "pipelines.7: $name"
    done)
is "$missing" "" "make -C pipelines help, pipelines.7: every variable"

# ---- what make -n prints can be pasted

for ranks in 1 2; do
    make -n --no-print-directory -C "$TOP/pipelines" imagenet "NGPU=$ranks" \
        "OUT=$PWD/dry" > dry.sh 2> err
    is $? 0 "make -n imagenet NGPU=$ranks" || tap_comment "$(cat err)"
    sh -n dry.sh 2> err
    is $? 0 "its commands are shell" || tap_comment "$(cat err)"
    grep -oE '(^|[|;&] *|-- |[^a-z]sh -c .)[^ ]*(imgshard|imgsynth|accel-worker|accel-launch|allreduce-ring|ckpt-merge|evalacc) ' \
        dry.sh | grep -vE "(^|[| ]|sh -c ')$TOP/bin/" > relative
    is "$(cat relative)" "" "each program by its absolute path"
    for stage in 'imgsynth imagenet' 'imgshard pack' 'imgshard feed' \
        'accel-worker train' 'ckpt-merge' 'accel-worker predict' 'evalacc top'; do
        grep -q "bin/$stage" dry.sh || echo "$stage"
    done > stages
    is "$(cat stages)" "" "every stage is there"
    [ ! -e dry ]
    ok $? "and nothing has been made"
done

# ---- the recipes

# setting FILE KEY: the effective value
setting() {
    accel-worker train --print-config -c "$TOP/configs/$1" |
        awk -F'\t' -v key="$2" '$1 == key { print $2 }'
}
for recipe in "$TOP"/configs/*.yaml; do
    name=$(basename "$recipe")
    expect_status 0 "$name loads" accel-worker train --print-config -c "$recipe"
    expect_status 0 "$name makes a plan of rates" \
        accel-worker train --print-lr --samples 2000 -c "$recipe"
done

# values NAME KEY VALUE...: numbers compared as numbers
values() {
    v_name=$1
    shift
    while [ $# -gt 0 ]; do
        got=$(setting "$v_name" "$1")
        [ "$got" = "$2" ] ||
            awk -v a="$got" -v b="$2" 'BEGIN { exit !(a "" != "" && a + 0 == b + 0 && b ~ /[0-9]/) }' ||
            echo "$1: $got, expected $2"
        shift 2
    done
}
is "$(values resnet50.yaml MODEL.NAME resnet50 INPUT.SIZE 224 \
    INPUT.RESIZE 256 SOLVER.EPOCHS 90 SOLVER.BATCH 512 SOLVER.BASE_LR 0.1 \
    SOLVER.MOMENTUM 0.9 SOLVER.NESTEROV false SOLVER.WEIGHT_DECAY 0.0001 \
    SOLVER.DECAY_NORM false SOLVER.DECAY_BIAS false SOLVER.CLIP_NORM 1 \
    SOLVER.SCHED step SOLVER.GAMMA 0.1 SOLVER.STEP_EPOCHS 30 \
    SOLVER.WARMUP_EPOCHS 5 SOLVER.WARMUP_FACTOR 0.1 \
    SOLVER.WARMUP_SHIFT true SOLVER.PER_EPOCH true \
    SOLVER.LABEL_SMOOTHING 0 MODEL.ZERO_INIT_RESIDUAL false)" "" \
    "resnet50.yaml: its values"
is "$(values resnet50-tv.yaml MODEL.NAME resnet50 INPUT.SIZE 224 \
    INPUT.RESIZE 256 SOLVER.EPOCHS 90 SOLVER.BATCH 256 SOLVER.BASE_LR 0.1 \
    SOLVER.MOMENTUM 0.9 SOLVER.NESTEROV false SOLVER.WEIGHT_DECAY 0.0001 \
    SOLVER.DECAY_NORM true SOLVER.DECAY_BIAS true SOLVER.CLIP_NORM 0 \
    SOLVER.SCHED step SOLVER.GAMMA 0.1 SOLVER.STEP_EPOCHS 30 \
    SOLVER.WARMUP_EPOCHS 0 SOLVER.PER_EPOCH true \
    SOLVER.LABEL_SMOOTHING 0 MODEL.ZERO_INIT_RESIDUAL false)" "" \
    "resnet50-tv.yaml: its values"
is "$(values resnet50-tv2.yaml MODEL.NAME resnet50 INPUT.SIZE 176 \
    INPUT.EVAL_SIZE 224 INPUT.RESIZE 232 INPUT.POLICY trivial INPUT.ERASE 0.1 \
    INPUT.MIXUP 0.2 INPUT.CUTMIX 1 INPUT.REPEAT 4 SOLVER.EPOCHS 600 \
    SOLVER.BATCH 1024 SOLVER.BASE_LR 0.5 SOLVER.MOMENTUM 0.9 \
    SOLVER.NESTEROV false SOLVER.WEIGHT_DECAY 0.00002 \
    SOLVER.DECAY_NORM false SOLVER.DECAY_BIAS true SOLVER.CLIP_NORM 0 \
    SOLVER.SCHED cosine SOLVER.LABEL_SMOOTHING 0.1 SOLVER.PER_EPOCH true \
    SOLVER.EMA true SOLVER.EMA_DECAY 0.99998 SOLVER.EMA_STEPS 32 \
    MODEL.ZERO_INIT_RESIDUAL false)" "" "resnet50-tv2.yaml: its values"

# rates FILE EPOCH...: at the first step of these epochs
rates() {
    r_name=$1
    shift
    accel-worker train --print-lr -c "$TOP/configs/$r_name" |
        awk -F'\t' -v want="$*" '
            BEGIN { n = split(want, e, " ") }
            NR > 1 && int($3) != last { first[int($3)] = $4 + 0 }
            NR == 2 { first[0] = $4 + 0 }
            NR > 1 { last = int($3) }
            END { for (i = 1; i <= n; i++)
                      printf "%s%.7g", (i > 1 ? " " : ""), first[e[i]] }'
}
is "$(rates resnet50.yaml 0 1 2 3 4 5 34 35 65)" \
    "0.01 0.028 0.046 0.064 0.082 0.1 0.1 0.01 0.001" \
    "resnet50.yaml: warm-up to epoch 5, steps at 35 and 65"
is "$(rates resnet50-tv.yaml 0 29 30 60)" "0.1 0.1 0.01 0.001" \
    "resnet50-tv.yaml: steps at 30 and 60"
is "$(rates resnet50-tv2.yaml 0 1 4 5 599)" "0.005 0.104 0.401 0.5 3.484776e-06" \
    "resnet50-tv2.yaml: warm-up to epoch 5, cosine to the end"
is "$(accel-worker train --print-lr -c "$TOP/configs/resnet50.yaml" | wc -l |
    tr -d ' ')" $((1 + 90 * 2503)) "resnet50.yaml: 90 epochs of 2503 steps"

done_testing
