#!/bin/sh
# checks.sh - the checks of check.sh, one by its name, in an empty directory.
#
# usage: checks.sh NAME
#
# Rows, and in the last line the figures, are JSON objects on stdout; why it
# failed is the end of stderr. Exit status: 0 passed, 75 skipped, else failed.
# Wants the variables that check.sh sets: BIN, ENGINE_PLUGIN, GPU_FAKE,
# GPU_SECONDS (how long it may take), ...
set -u
worker=$BIN/accel-worker
if [ -n "$GPU_FAKE" ]; then
    batch=4 types=F32 shape='MODEL.NAME resnet18 MODEL.WIDTH 8 INPUT.SIZE 32'
else
    batch=256 types='F16 BF16 F32' shape='MODEL.NAME resnet50 INPUT.SIZE 224'
fi
level=${ENGINE_LEVEL:--}
# An option of the worker, if it has it
LEVEL=
if [ -n "$ENGINE_LEVEL" ]; then
    if "$worker" bench --help | grep -q -e --engine-level; then
        LEVEL="--engine-level $ENGINE_LEVEL"
    elif [ "$ENGINE_LEVEL" != B ]; then
        echo "accel-worker: has no --engine-level" >&2
        exit 75
    fi
fi
export LEVEL

fail() {
    echo "$*" >&2
    exit 1
}

skip() {
    echo "$*" >&2
    exit 75
}

# number NAME FILE: the first number of that name in a JSON line
number() {
    sed -n "s/.*\"$1\":\\([-+0-9.eE]*\\).*/\\1/p" "$2" | head -n 1
}

# cuda COMMAND [ARG]...: the worker on the engine under test
cuda() {
    command=$1
    shift
    # shellcheck disable=SC2086
    "$worker" "$command" -e cuda --engine-dir "$ENGINE_PLUGIN" $LEVEL "$@"
}

python() {
    "$PEER_PYTHON" "$TOP/bench/gpu/peer.py" there 2> /dev/null ||
        skip "$PEER_PYTHON has no torch (PEER_PYTHON)"
    PYTHONDONTWRITEBYTECODE=1 "$PEER_PYTHON" -W ignore "$TOP/bench/gpu/peer.py" "$@"
}

# median: of the numbers on stdin, one a line
median() {
    sort -g | awk '{ v[NR] = $1 } END { print NR ? v[int((NR + 1) / 2)] : 0 }'
}

# ---- what there is

# asked FIELD,...: of the first card; nothing if one of them is unknown to the driver
asked() {
    timeout 20 nvidia-smi --query-gpu="$1" --format=csv,noheader > answer 2> /dev/null ||
        return
    { echo "$1" && head -n 1 answer; } | tr -d '\042\134' |
        awk -F ', *' 'NR == 1 { n = split($0, name, ",") }
            NR == 2 { printf "{\"row\":\"card\""
                for (i = 1; i <= n; i++) printf ",\"%s\":\"%s\"", name[i], $i
                print "}" }'
}

environment() {
    if [ -z "$GPU_FAKE" ]; then
        asked name,driver_version,memory.total,temperature.gpu,power.limit
        asked clocks.sm,clocks.max.sm,clocks.mem,clocks.max.mem
        asked ecc.mode.current,mig.mode.current
        asked clocks_event_reasons.active,pcie.link.gen.max,pcie.link.width.max
    fi
    # shellcheck disable=SC2086
    cuda bench -n 1 --warm 0 -q --no-tune $shape SOLVER.BATCH 2 > line || return 1
    torch=$("$PEER_PYTHON" "$TOP/bench/gpu/peer.py" info 2> /dev/null) || torch=null
    card=$("$BIN/gpu/card" 2> /dev/null) || card=null # of no use without a card
    nvcc=$(nvcc --version 2> /dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p')
    printf '{"cpus":%d,"kernel":"%s","nvcc":"%s","sanitizer":"%s","torch":%s,"engine":"%s","cudnn_sees":%s}\n' \
        "$(getconf _NPROCESSORS_ONLN)" "$(uname -r)" "$nvcc" "$(sanitizer_path)" \
        "$torch" "$(sed -n 's/.*"engine":"\([^"]*\)".*/\1/p' line)" "${card:-null}"
}

# ---- what is said where it cannot serve

# refused NAME SENTENCE COMMAND...: status 69 and one line, which fits
refused() {
    name=$1 want=$2
    shift 2
    "$@" > out 2> said < /dev/null
    status=$?
    printf '{"row":"refused","what":"%s","status":%d,"says":"%s"}\n' "$name" \
        "$status" "$(head -n 1 said | tr -d '\042\134')"
    if ! grep -q -E "$want" said || [ "$(wc -l < said)" -ne 1 ]; then
        fail "$name: not the one line '$want' but: $(head -n 3 said)"
    fi
    case $name in
    memory*) [ "$status" -ne 0 ] ;;
    *) [ "$status" -eq 69 ] ;;
    esac || fail "$name: status $status"
}

sentences() {
    set -- "$worker" init -e cuda --engine-dir "$ENGINE_PLUGIN" \
        -o x.safetensors MODEL.CLASSES 4 MODEL.WIDTH 8 MODEL.NAME resnet18
    refused nogpu 'cuda: driver sees no GPU' \
        env CUDA_VISIBLE_DEVICES= ${GPU_FAKE:+HOSTGPU=nogpu} "$@"
    refused device 'cuda: .*device 99: there (is|are) [0-9]+$' "$@" -d 99
    mkdir broken
    echo no > broken/libcudnn.so.9
    (
        ENGINE_DIR=$PWD/broken
        export ENGINE_DIR
        refused cudnn 'cuda: cannot load .*libcudnn.so.9' "$@"
    ) || exit 1
    "$@" || fail 'a fresh model'
    echo '{"sentences":3}'
}

# memory: too large a batch is one line, the next run is not harmed, and a run
# takes what plan said.
memory() {
    if [ -n "$GPU_FAKE" ]; then
        refused memory 'memory: [0-9]+ MB wanted, .*smaller micro-batch' \
            cuda bench -q -n 1 --no-tune MODEL.NAME resnet50 SOLVER.BATCH 256
    else
        refused memory 'memory: [0-9]+ MB wanted, .*smaller micro-batch' \
            cuda bench -q -n 1 --no-tune MODEL.NAME resnet152 SOLVER.BATCH 4096
    fi
    # shellcheck disable=SC2086
    cuda bench -n 2 --warm 1 -q $shape SOLVER.BATCH "$batch" > line ||
        fail 'the next run'
    # shellcheck disable=SC2086
    cuda plan --json $shape SOLVER.BATCH "$batch" > planned.json || fail plan
    awk -v b="$(number engine_bytes line)" -v m="$(number memory planned.json)" 'BEGIN {
        b /= 1048576
        printf "{\"mib\":%.1f,\"planned_mib\":%.1f,\"ratio\":%.4f}\n", b, m, b / m
        exit !(b < 1.02 * m && b > 0.9 * m) }' || fail 'not what plan said'
}

# ---- kernels and convolutions

# lines of TAP -> figures; what is wrong comes last
judged() {
    grep '^# ' "$1" >&2
    grep '^not ok' "$1" >&2
    printf '{"tests":%d,"failed":%d,"skipped":%d}\n' "$(grep -c -E '^(not )?ok' "$1")" \
        "$(grep -c '^not ok' "$1")" "$(grep -c '# skip' "$1")"
}

kernels() {
    for t in $types; do
        "$BIN/t/30-ops.t" cuda "$ENGINE_PLUGIN" "$t" > tap."$t" 2> err
        status=$?
        sed -n 's/^ok [0-9]* - \(.*\), worst error \(.*\)/{"row":"kernel","what":"\1","error":"\2"}/p' tap."$t"
        cat tap."$t" >> tap
        [ "$status" -eq 0 ] || { cat err >&2; judged tap; return 1; }
    done
    judged tap
}

layers() {
    if [ -n "$GPU_FAKE" ]; then
        "$BIN/gpu/layers" cuda "$ENGINE_PLUGIN" 2 32 8 "$level" F16 BF16 F32
    else
        # shellcheck disable=SC2086
        "$BIN/gpu/layers" cuda "$ENGINE_PLUGIN" $batch 224 1 "$level" $types
    fi
}

# choices: the trials of all convolutions, which later checks make use of; and what
# they are worth. Rows: the file that keeps them.
choices() {
    steps=20
    [ -z "$GPU_FAKE" ] || steps=1
    for t in $types; do
        case $t in F16) p=fp16 ;; BF16) p=bf16 ;; *) p=fp32 ;; esac
        begin=$(date +%s%N)
        # shellcheck disable=SC2086
        cuda bench -n 1 --warm 0 -q --tune $shape SOLVER.BATCH "$batch" \
            SOLVER.PRECISION $p > line || fail "$p: trials"
        took=$(($(date +%s%N) - begin))
        for tune in --tune --no-tune; do
            # shellcheck disable=SC2086
            cuda bench -n "$steps" -q $tune $shape SOLVER.BATCH "$batch" \
                SOLVER.PRECISION $p > line$tune || fail "$p: $tune"
        done
        printf '{"row":"choices","precision":"%s","s":%s,"img_s":%s,"usual_img_s":%s}\n' $p \
            "$(awk -v t="$took" 'BEGIN { printf "%.1f", t / 1e9 }')" \
            "$(number img_s line--tune)" "$(number img_s line--no-tune)"
    done
    awk -F '\t' '/^#/ { next } { n++; apart += $2 ~ /^apart/
        printf "{\"row\":\"choice\",\"what\":\"%s\",\"form\":\"%s\",\"ms\":%s}\n", $1, $2, $3 }
        END { printf "{\"choices\":%d,\"apart\":%d}\n", n, apart }' "$MILLRACE_CACHE"/cuda-*.txt
}

# ---- training

step() {
    if [ -n "$GPU_FAKE" ]; then
        python step cpu resnet18 32 4 "$level" F16
    else
        # shellcheck disable=SC2086
        python step cuda resnet50 224 16 "$level" F32 F16 BF16
    fi
}

# made NAME IMAGES SIZE: 8 classes of so many drawn images, packed
made() {
    [ -e "$1/train.json" ] && return
    "$BIN/imgsynth" imagenet -q "$1.made" --classes 8 --train "$2" --val 0 \
        --size-min "$3" --size-max "$(($3 * 4 / 3))" > made.out &&
        "$BIN/imgshard" pack -q -o "$1" "$1.made/train" > made.out && return
    fail 'a data set'
}

# trained RUN SET [KEY VALUE]...
trained() {
    run=$1 set=$2
    shift 2
    "$BIN/imgshard" feed -q "$set/train.json" "$@" 2> feed.err |
        cuda train -q --log-every 1 -o "$run" "$@" >&2 || {
        cat feed.err >&2
        fail "$run: training"
    }
}

# losses RUN: of each step
losses() {
    sed -n 's/.*"loss":\([-+0-9.eE]*\).*"phase":"train".*/\1/p' "$1/metrics.jsonl"
}

descent() {
    if [ -n "$GPU_FAKE" ]; then
        made set 2 40
        n=12 part=3 keys="$shape SOLVER.BATCH 16"
    else
        made set 8 256
        n=200 part=20 keys="$shape SOLVER.BATCH 64"
    fi
    # one batch again and again
    keys="$keys SOLVER.EPOCHS $n SOLVER.BASE_LR 0.02 SOLVER.PRECISION fp16
        MODEL.ZERO_INIT_RESIDUAL true INPUT.SCALE 1,1 INPUT.RATIO 1,1 INPUT.FLIP 0"
    # shellcheck disable=SC2086
    trained one set $keys
    # shellcheck disable=SC2086
    trained two set $keys
    losses one > one.loss
    losses two > two.loss
    [ "$(wc -l < one.loss)" -eq "$n" ] || fail "$(wc -l < one.loss) steps, not $n"
    tail -n 1 one/metrics.jsonl > last
    grep '"phase":"train"' one/metrics.jsonl | tail -n 1 > last
    awk -v n="$n" -v p="$part" '{ if (NR <= p) a += $1; if (NR > n - p) b += $1 }
        END { printf "%s %s\n", a / p, b / p }' one.loss > ends
    read -r first final < ends
    same=1
    cmp -s one.loss two.loss || same=0
    for f in one/ckpt/*/rank-*; do
        cmp -s "$f" "two${f#one}" || same=0
    done
    printf '{"steps":%d,"first":%s,"last":%s,"scale":%s,"skipped":%s,"same_bits":%d}\n' \
        "$n" "$first" "$final" "$(number scale last)" "$(number skipped last)" "$same"
    [ "$same" -eq 1 ] || fail 'two runs differ'
    awk -v a="$first" -v b="$final" 'BEGIN { exit !(b < 0.8 * a) }' ||
        fail "the loss does not fall: $first, then $final"
    awk -v s="$(number skipped last)" -v n="$n" 'BEGIN { exit !(s < n / 4) }' ||
        fail "$(number skipped last) steps of $n were skipped"
}

# ---- a step without the host in it

# waited STEPS: calls that wait for the device, of a whole run
waited() {
    # shellcheck disable=SC2086
    cuda bench -q --warm 1 -n "$1" --trace trace $shape SOLVER.BATCH "$batch" \
        SOLVER.PRECISION fp16 > line || fail 'a traced run'
    grep -c -E '^[0-9.]+ [0-9.]+ (finish|download|wait)' trace
}

# graph: the verdict, the loss and its scale come back right, call by call or from a
# recorded step; what the record is worth.
graph() {
    "$BIN/t/54-late.t" cuda "$ENGINE_PLUGIN" > tap 2> err ||
        fail "$(grep '^not ok' tap; tail -n 1 err)"
    if [ -n "$GPU_FAKE" ]; then
        n=3 rounds=1
    else
        n=30 rounds=1 # rates has more of them
    fi
    few=$(waited 2) || exit
    many=$(waited 12) || exit
    for b in $((batch / 8 + 2)) "$batch"; do
        for how in --graph --no-graph; do
            : > rate
            for _ in $(seq $rounds); do
                # shellcheck disable=SC2086
                cuda bench -q --warm 3 -n "$n" "$how" $shape SOLVER.BATCH "$b" \
                    SOLVER.PRECISION fp16 > line || fail "batch $b $how"
                number img_s line >> rate
            done
            printf '{"row":"rate","batch":%d,"how":"%s","img_s":%s}\n' "$b" \
                "${how#--}" "$(median < rate)"
            median < rate > "rate$how"
        done
    done
    printf '{"tests":%d,"waits_per_step":%s,"batch":%d,"graph_img_s":%s,"calls_img_s":%s}\n' \
        "$(grep -c '^ok' tap)" "$(echo "$few $many" | awk '{ print ($2 - $1) / 10 }')" \
        "$batch" "$(cat rate--graph)" "$(cat rate--no-graph)"
    [ $((many - few)) -le 10 ] || fail 'a step waits more than once'
}

# ---- rates

rates() {
    if [ -n "$GPU_FAKE" ]; then
        PEER_WIDTH=8 python rates cpu resnet18 32 2 1 1 eager F16
    else
        # shellcheck disable=SC2086
        python rates cuda resnet50 224 $batch 3 20 eager $types
    fi
}

compiled() {
    if [ -n "$GPU_FAKE" ]; then
        PEER_WIDTH=8 python rates cpu resnet18 32 2 1 1 compile F32
    else
        python rates cuda resnet50 224 $batch 2 20 compile F16
    fi
}

# The whole way: decoding on all CPUs, a pipe, the card.
fed() {
    if [ -n "$GPU_FAKE" ]; then
        made set 8 40
        keys="$shape SOLVER.BATCH 16 SOLVER.EPOCHS 2"
    else
        made set 512 375
        keys="$shape SOLVER.BATCH 256 SOLVER.EPOCHS 20"
    fi
    keys="$keys SOLVER.PRECISION fp16"
    begin=$(date +%s%N)
    # shellcheck disable=SC2086
    "$BIN/imgshard" feed -q set/train.json $keys > /dev/null || fail 'the feed alone'
    alone=$(($(date +%s%N) - begin))
    # shellcheck disable=SC2086
    trained run set $keys
    grep '"phase":"train"' run/metrics.jsonl > steps
    # the first steps make plans
    all=$(wc -l < steps)
    tail -n "$((all - all / 4))" steps > rest
    for f in img_s t_data t_compute t_opt; do
        sed -n "s/.*\"$f\":\\([-+0-9.eE]*\\).*/\\1/p" rest | median > "$f"
    done
    images=$(sed -n 's/.*"samples":\([0-9]*\).*/\1/p' steps | tail -n 1)
    read -r wait < t_data
    read -r work < t_compute
    printf '{"img_s":%s,"feed_alone_img_s":%s,"wait_for_data_s":%s,"compute_s":%s,"update_s":%s,"images":%s,"bytes_per_image":%s,"bottleneck":"%s"}\n' \
        "$(cat img_s)" "$(awk -v n="$images" -v t="$alone" 'BEGIN { print n / t * 1e9 }')" \
        "$wait" "$work" "$(cat t_opt)" "$images" \
        "$(awk -v b="$(cat set/*.tar | wc -c)" -v n="$images" \
            -v e="$(echo "$keys" | sed 's/.*EPOCHS \([0-9]*\).*/\1/')" 'BEGIN { print int(b * e / n) }')" \
        "$(awk -v a="$wait" -v b="$work" 'BEGIN { print (a > b / 10 ? "feed" : "card") }')"
}

# ---- the tool that sees accesses

sanitizer_path() {
    for s in compute-sanitizer /usr/local/cuda/bin/compute-sanitizer \
        /usr/local/cuda/compute-sanitizer/compute-sanitizer; do
        command -v "$s" && return
    done
}

# Errors of calls are not asked for: the libraries make some when they look for what
# the driver has. Hazards are looked for in our kernels alone: those of cuDNN order
# their copies in ways that racecheck does not see.
sanitizer() {
    tool=$(sanitizer_path)
    [ -n "$tool" ] || skip 'there is no compute-sanitizer'
    each=$((GPU_SECONDS / 2 - 5))
    [ "$each" -ge 10 ] || skip 'no time was left'
    for t in racecheck memcheck; do
        only=
        [ "$t" = memcheck ] || only=kernels
        timeout -k 2 "$each" "$tool" --tool "$t" --report-api-errors no --error-exitcode 9 \
            "$BIN/t/30-ops.t" cuda "$ENGINE_PLUGIN" F16 $only > said 2>&1
        status=$?
        ! grep -q -i 'device not supported' said ||
            skip 'compute-sanitizer does not serve this device'
        printf '{"row":"sanitizer","tool":"%s","status":%d,"tests":%d,"says":"%s"}\n' \
            "$t" "$status" "$(grep -c '^ok' said)" \
            "$(grep '^=========' said | tail -n 1 | tr -d '\042\134')"
        case $status in
        0 | 124 | 137) ;; # out of time: what was seen was right
        *)
            grep -E -A8 '^=========.*(Invalid|Error|hazard)' said | head -n 40 >&2
            fail "$t: status $status: $(grep '^=========' said | tail -n 1)"
            ;;
        esac
    done
    echo '{"tools":2}'
}

case $1 in
environment | sentences | kernels | choices | layers | step | descent | graph | memory | rates | fed | sanitizer)
    "$1"
    ;;
rates-compiled) compiled ;;
*) fail "$1: no such check" ;;
esac
