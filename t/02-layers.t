#!/bin/sh
# The rules that keep the tree readable: who may include whom, where libraries
# appear, one header per source, sizes, banned calls.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"
cd "$TOP" || exit 1

# LAYER: layers it may include besides itself
arrows() {
    case $1 in
    util) echo ;;
    tensor) echo util ;;
    io) echo "tensor util" ;;
    vision) echo "io tensor util" ;;
    engine) echo "tensor util" ;;
    nn) echo "engine tensor util" ;;
    model) echo "nn engine vision tensor util" ;;
    train) echo "model nn engine io tensor util" ;;
    ring) echo "io tensor util" ;;
    eval) echo "vision io tensor util" ;;
    esac
}

bad=$(for layer in util tensor io vision engine nn model train ring eval; do
    allowed=" $layer $(arrows $layer) "
    grep -rn '^# *include "' "lib/$layer" --include='*.[ch]' |
        while IFS= read -r line; do
            to=${line##*include \"}
            to=${to%%/*}
            case $allowed in
            *" $to "*) ;;
            *) echo "$line" ;;
            esac
        done
done)
is "$bad" "" "no include points up the layers"

bad=$(grep -rn '^# *include "engine/\(cpu\|cuda\|ref\)/' lib src --include='*.[ch]' |
    grep -v '^lib/engine/')
is "$bad" "" "no backend's header is included outside the engine"

# HEADER PLACE: a library's header appears below PLACE only
only() {
    bad=$(grep -rln "^# *include <$1" lib src --include='*.[ch]' | grep -v "$2")
    is "$bad" "" "<$1> appears in $2 only"
}
only jpeglib 'lib/vision/jpeg'
only png 'lib/vision/png'
only jansson 'lib/util/json'
only yaml 'lib/util/conf'
only oneapi 'lib/engine/cpu/'
only zlib 'lib/io/\(digest\|gz\)\.c'
only openssl 'lib/\(io/digest\|ring/gcm\)\.c'
only sodium 'lib/\(util/hash\|ring/crypt\)\.c'
only cuda 'lib/engine/cuda/'
only cudnn 'lib/engine/cuda/'

bad=$(find lib -name '*.h' | while IFS= read -r h; do
    n=$(grep -rl "include \"${h#lib/}\"" lib src t --include='*.[ch]' --include='*.cu' | grep -vc "^$h\$")
    [ "$n" -gt 0 ] || echo "$h"
done)
is "$bad" "" "no header without a user"

bad=$(git ls-files 'lib/*.c' 'src/*.c' 'lib/*.h' | xargs -n1 basename | sort | uniq -d)
is "$bad" "" "file names are unique in the tree"

bad=$(git ls-files '*.c' '*.h' '*.cu' '*.sh' '*.t' | while IFS= read -r f; do
    [ -f "$f" ] || continue
    n=$(wc -l < "$f")
    [ "$n" -le 700 ] || echo "$f: $n lines"
done)
is "$bad" "" "no file over 700 lines"
bad=$(git ls-files 'src/*.c' | while IFS= read -r f; do
    n=$(wc -l < "$f")
    [ "$n" -le 350 ] || echo "$f: $n lines"
done)
is "$bad" "" "no file of src over 350 lines"

bad=$(grep -rnwE '(strcpy|strcat|sprintf|vsprintf|strtok|gets|atoi|atol|atof|alloca|signal|system) *\(' \
    lib src --include='*.[ch]' | grep -vE '^[^:]+:[0-9]+: *(/?\*|//)')
is "$bad" "" "no banned call"
bad=$(grep -rnE '\b(exit|_exit|die|die_with) *\(' lib --include='*.c' |
    grep -vE '^lib/util/(err|buf|tmp|opt[a-z]*)\.c:|^lib/(ring|io)/(child|launch|loop|mpi)[a-z]*\.c:' |
    grep -vE ':[0-9]+: *(/?\*|//)')
is "$bad" "" "only programs exit"
bad=$(grep -rn 'ffast-math\|Ofast' Makefile tools lib src)
is "$bad" "" "no fast math"

done_testing
