#!/bin/sh
# Fifty random moments of two ranks: see t/lib/moments.sh. moments-2.t and those
# behind it that are this file, too, have other numbers, so other moments.
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$TOP/t/lib/moments.sh"
moments
done_testing
