#!/bin/sh
# Every operation once more, with convolutions on plain tiles and on none: what
# a processor without matrix tiles runs, and how those are checked there.
TOP=${TOP:-$(dirname "$0")/../..}
. "$TOP/t/lib/tap.sh"

[ -f "$BIN/engine-cpu.so" ] || skip_all 'engine: no engine-cpu.so'
for tiles in plain off; do
	MILLRACE_TILES=$tiles "$BIN/t/30-ops.t" >out 2>err
	is $? 0 "operations with MILLRACE_TILES=$tiles"
	is "$(grep '^not ok' out)" '' 'all as they should'
done
# and on the vectors of lesser processors
for isa in base avx2; do
	for test in 30-ops 33-lanes; do
		MILLRACE_ISA=$isa MILLRACE_TILES=off "$BIN/t/$test.t" >out 2>err
		is $? 0 "$test with MILLRACE_ISA=$isa"
		is "$(grep '^not ok' out)" '' 'all as they should'
	done
done
done_testing
