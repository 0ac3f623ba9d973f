#!/bin/sh
# kit.sh - finish DIR, which has the programs of gpu-check, for another machine.
#
# usage: bench/gpu/kit.sh DIR
#
# Copies each library that a program wants, except those of the C library, into
# DIR/lib, writes down what the programs were made of (DIR/made), and fails if
# something is missing or the whole is larger than 64 MiB.
set -eu
TOP=$(cd "$(dirname "$0")/../.." && pwd)
dir=$1

mkdir -p "$dir/lib"
find "$dir" -type f ! -path '*/lib/*' -exec ldd {} + 2> /dev/null |
    awk '$2 == "=>" { print ($3 == "not" ? "missing:" $1 : $3) }' | sort -u |
    while read -r path; do
        case $path in
        missing:*)
            echo "gpu-kit: ${path#missing:}: not on this machine" >&2
            exit 1
            ;;
        */libc.so.* | */libm.so.* | */libdl.so.* | */librt.so.* | \
            */libpthread.so.* | */ld-linux*) ;;
        *) cp -L "$path" "$dir/lib/" ;;
        esac
    done
"$TOP/bench/gpu/sources.sh" > "$dir/made"
size=$(du -sk "$dir" | cut -f1)
echo "gpu-kit: $dir: $size KiB, $(find "$dir/lib" -type f | wc -l) libraries" >&2
if [ "$size" -gt 65536 ]; then
    echo "gpu-kit: $dir: larger than 64 MiB (fewer cards: make CUDA_ARCH=90)" >&2
    exit 1
fi
