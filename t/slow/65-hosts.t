#!/bin/sh
# Sums over many hosts: as threads of one process, each with memory and
# connections of its own, and as processes.
TOP=${TOP:-$(dirname "$0")/../..}
. "$TOP/t/lib/tap.sh"
. "$TOP/t/lib/ports.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/hosts.sh"

expect_status 0 '70 hosts add' "$BIN/t/64-lanes.t" hosts 70
unlike "$(cat out)" '^not ok' 'the same bits everywhere, in order'
hosts 20 1 '' "$w" worker steps=2 buckets=2 numel=5000
is "$(echo "$status" | tr -d ' 0')" '' '20 hosts of one rank with workers'
like "$(cat out.0)" '^20 ranks, digest' 'add'
done_testing
