#!/bin/sh
# Several hosts: connections that break at a moment, data that change on their way.
# All ranks end, with the host named, and the sums are right or there are none.
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$TOP/t/lib/tap.sh"
. "$TOP/t/lib/ports.sh"
. "$TOP/t/lib/procs.sh"
. "$TOP/t/lib/hosts.sh"
ring=$BIN/t/faulty/allreduce-ring

hosts 2 2 '' "$w" worker steps=20 numel=50000
is "$status" '0 0 0 0 ' 'nobody is hurt'
cp out.0 whole
for fault in cut:rank2:step7:phase=ring.add corrupt:rank2:step7:phase=ring.add \
    cut:rank0:step3:phase=ring.add corrupt:rank0:step3:phase=ring.add; do
    export ACCEL_FAULT=$fault
    hosts 2 2 '' "$w" worker steps=20 numel=50000
    unset ACCEL_FAULT
    unlike " $status" ' (0|124|137) ' "$fault: all end, none well"
    like "$(cat err.0 err.1 err.2 err.3)" 'host .* \(ranks [0-3], [0-3]\)|rank [0-3]' 'a host or a rank is named'
    tap_comment "$status $(cat err.? | grep -v fault: | head -n 2)"
done
export ACCEL_FAULT=slow=20:rank2:phase=ring.add
hosts 2 2 '' "$w" worker steps=20 numel=50000
unset ACCEL_FAULT
is "$status" '0 0 0 0 ' 'one host is slow'
same whole out.0 'the sums are the same'
done_testing
