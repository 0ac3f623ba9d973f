#!/bin/sh
# What the kernels of the cuda engine take of a card is no worse than recorded in
# t/golden/registers.txt: no spills, and as many blocks at once on a multiprocessor.
# After a change that is worth it: tools/registers, with the first line of the old.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"

record=$TOP/t/golden/registers.txt
cd "$TOP" || exit 1
[ -e bin/.obj/cuda/norm.ptxas ] || skip_all "cuda: no toolkit to build the engine with"
"$TOP/tools/registers" > "$tap_dir/now"
cd "$tap_dir" || exit 1
ok "$([ -s now ]; echo $?)" "kernels that were compiled"
is "$(grep spills now)" '' 'none spills'

# Blocks of 256 threads at once: by registers (given out by 256 to a warp), shared
# memory (1 KB of each block is the driver's) and threads.
cat > blocks.awk << 'END'
function least(a, b) { return a < b ? a : b }
function blocks(arch, regs, shared,   n, kb) {
    n = arch == 75 ? 4 : arch == 86 || arch == 89 || arch == 120 ? 6 : 8
    kb = arch == 75 ? 64 : arch == 86 || arch == 89 || arch == 120 ? 100 : arch == 80 ? 164 : 228
    n = least(n, int(65536 / (8 * 256 * int((regs * 32 + 255) / 256))))
    return least(n, int(kb * 1024 / (shared + (arch == 75 ? 0 : 1024))))
}
FNR == 1 { file++ }
/^#/ { next }
{
    for (i = 3; i <= NF; i++) {
        split($i, v, "[:/]")
        key = $1 " " $2 " sm_" v[1]
        n = blocks(v[1], v[2], v[3])
        if (file == 1) {
            was[key] = n
            regs[key] = v[2]
        } else if (!(key in was)) {
            print key ": is not recorded"
        } else if (n < was[key]) {
            printf "%s: %d registers, %d blocks at once; recorded are %d, %d\n", key, v[2], n, regs[key], was[key]
        }
    }
}
END
toolkit=$(sed -n '1s/.*nvcc \([0-9.]*\).*/\1/p' "$record")
here=$(sed 's/ .*//' "$TOP/bin/.obj/cuda/flags")
here=$("$here" --version | sed -n 's/.*release [0-9.]*, V\([0-9.]*\).*/\1/p')
if [ "$here" = "$toolkit" ]; then
    awk -f blocks.awk "$record" now > found
    is "$(cat found)" '' 'each is recorded, and has as many blocks at once'
    # a test of the test
    sed 's|:[0-9]*/|:255/|g' now > worse
    is "$(awk -f blocks.awk "$record" worse | wc -l | tr -d ' ')" \
        "$(grep -v '^#' "$record" | grep -o ':[0-9]*/' | wc -l | tr -d ' ')" \
        'which all kernels with 255 registers have not'
else
    skip 2 "toolkit: recorded with $toolkit, here is $here"
fi

done_testing
