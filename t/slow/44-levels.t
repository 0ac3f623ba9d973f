#!/bin/sh
# Training at level C of the cuda engine beside level B, without a GPU (t/hostgpu):
# the same losses, also where cuDNN lacks some forms or all; and with values
# computed again the same bits.
. "${TOP:=$(cd "$(dirname "$0")/../.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/train.sh"

host=$BIN/t/hostgpu
[ -e "$host/engine-cuda.so" ] || skip_all "cuda: no toolkit to build the engine with"
ENGINE_DIR=$host
export ENGINE_DIR

# ---- level C is level B in other pieces
EPOCHS=1
make_data
# small DIR LEVEL: losses of small steps, which do not drift apart
small() {
    worker() {
        worker_dir=$1
        shift
        "$BIN/accel-worker" train -c "$CONFIG" -o "$worker_dir" -e cuda --engine-dir "$host" \
            --log-every 1 --engine-level "$LEVEL" "$@"
    }
    LEVEL=$2
    run "$1" SOLVER.PRECISION fp16 SOLVER.LOSS_SCALE 256 SOLVER.BASE_LR 0.0005
    is $? 0 "small steps at level $2"
    jq 'select(.phase == "train") | .loss' "$1/metrics.jsonl" > "$1.losses"
}
small B B
small C C
paste B.losses C.losses |
    awk '{ d = $1 - $2; if (d > 0.01 || d < -0.01) exit 1 } END { if (NR != 4) exit 1 }'
ok $? "losses within 0.01"
FAKECUDNN=onenorm
export FAKECUDNN
small D C
unset FAKECUDNN
like "$(cat D.err)" 'engine cuda: level C in F16: 3 of [0-9]+ forms are not there \(the first for layer4\.1\.conv1\): level B is taken for these$' \
    "a form that cuDNN lacks: says so"
is "$(grep -c 'level C' D.err)" 1 "once"
paste B.losses D.losses |
    awk '{ d = $1 - $2; if (d > 0.01 || d < -0.01) exit 1 } END { if (NR != 4) exit 1 }'
ok $? "and goes on with the same losses"

# a card that has none of them (7.5)
FAKECUDNN=plain HOSTGPU=turing
export FAKECUDNN HOSTGPU
small E C
unset FAKECUDNN HOSTGPU
is "$(grep -c 'level C in F16: .* forms are not there' E.err)" 1 "a card without level C: says so once"
same B.losses E.losses "and computes as at level B"

# ---- values computed again: the bits of level B, also where level C is asked for
for precision in fp16 bf16; do
    LEVEL=B
    run "kept$precision" SOLVER.PRECISION $precision
    for LEVEL in 'B --recompute' 'C --recompute'; do
        # shellcheck disable=SC2086
        worker() {
            worker_dir=$1
            shift
            "$BIN/accel-worker" train -c "$CONFIG" -o "$worker_dir" -e cuda --engine-dir "$host" \
                --engine-level $LEVEL "$@"
        }
        rm -rf again
        run again SOLVER.PRECISION $precision
        equal "kept$precision" again "$precision, level $LEVEL"
    done
done

done_testing
