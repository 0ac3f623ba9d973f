#!/bin/sh
# sources.sh - a digest of what the programs of gpu-check are made of.
cd "$(dirname "$0")/../.." || exit
find lib src bench/gpu t/unit/30-ops* t/unit/43-golden-resnet.c \
    t/unit/54-late.c -type f \
    -name '*.[chu]*' | LC_ALL=C sort | xargs cat | sha256sum | cut -c1-16
