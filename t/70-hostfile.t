#!/bin/sh
# accel-launch --hostfile: the list, the command that goes to each host, the key,
# signals and ends; with an ssh that runs the command here.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
. "$TOP/t/lib/ports.sh"
. "$TOP/t/lib/procs.sh"

launch=$BIN/accel-launch
ring=$BIN/allreduce-ring
w=$BIN/t/61-comm.t
unset ACCEL_MASTER ACCEL_KEY_FILE ACCEL_RUN_ID

mkdir fake
cat >fake/ssh <<'X'
#!/bin/sh
# ssh OPTIONS -- HOST COMMAND
while [ "$1" != -- ]; do shift; done
printf '%s\n' "$3" >>"$SSH_LOG"
[ "$2" != down ] || { echo 'ssh: connect to host down port 22: No route to host' >&2; exit 255; }
exec env HOST_IS="$2" sh -c "$3"
X
chmod +x fake/ssh
PATH=$PWD/fake:$PATH
SSH_LOG=$PWD/ssh.log
export PATH SSH_LOG

# over FILE COMMAND...: one run by that file
over() {
	f=$1
	shift
	new_port
	set -- timeout 60 "$launch" --hostfile "$f" --master 127.0.0.1:$port --grace 1 -n 2 -- "$@"
	got=0
	"$@" >out 2>err || got=$?
}

printf '# two\nh0\n\n  me@h1\t# second\n' >two
"$launch" -n 4 -- "$ring" -- "$w" worker >want 2>err
over two "$ring" --timeout 20 -- "$w" worker
is $got 0 'two hosts of two ranks' || tap_comment "$(cat err)"
same out want 'add what four ranks of one host add'
is "$(wc -l <ssh.log)" 2 'by two connections'
unlike "$(cat ssh.log)" '[0-9a-f]{60}' 'with no key on their command lines'
# shellcheck disable=SC2016
OMP_NUM_THREADS=3 over two sh -c 'echo "$RANK of $WORLD_SIZE $HOST_IS $OMP_NUM_THREADS $1; $(stat -Lc "%a %s" "$ACCEL_KEY_FILE")" >&2; echo out $RANK' x "it's  a \$HOME"
is "$(grep -c " 3 it's  a .HOME; 600 32\$" err)" 4 'words and settings arrive, the key in memory'
like "$(cat err)" '^me@h1: \[3\] 3 of 4 me@h1 ' 'lines have host and rank in front'
is "$(cat out)" 'out 0' 'rank 0 has the output'
like "$(cat err)" '^me@h1: \[2\] out 2' 'that of the others is told'

over two "$ring" --timeout 20 -- "$w" worker rank=3 at=2 how=kill
is $got 137 'the status is that of the rank that failed'
like "$(cat err)" '^me@h1: accel-launch: rank 3 failed first' 'its host says so'
like "$(cat err)" 'accel-launch: status of the hosts: h0 76, me@h1 137' 'and what it led to'

printf 'h0\ndown\n' >bad
over bad sleep 98771
is $got 69 'a host that is not there'
like "$(cat err)" '^down: ssh: connect to host down' 'ssh says why'
none_left '*sleep 98771*' 'and the others end'

new_port
run "$launch" --hostfile two --master 127.0.0.1:$port -n 1 -- "$ring" --timeout 20 -- "$w" worker steps=2000 sleep=10 "mark=$PWD/at"
at_work at.0 at.1
kill -TERM $pid
finish
is $got 75 'TERM: ranks stop in order' || tap_comment "$(cat err)"
# Under nohup: USR2 comes after HUP, which would have killed.
cat >deaf <<'X'
$SIG{HUP} = "DEFAULT"; $SIG{USR2} = sub { exit 0 }; sleep 60; # 98773
X
(
	trap '' HUP
	exec "$launch" --hostfile two --master 127.0.0.1:$port -- perl deaf 98773
) >out 2>err &
pid=$!
wait_for 2 'perl deaf 98773 '
kill -HUP $pid
kill -USR2 $pid
finish
is $got 0 'HUP that is ignored stays so' || tap_comment "$(cat err)"
run "$launch" --hostfile two --master 127.0.0.1:$port -- sleep 98772
wait_for 2 'sleep 98772 '
kill -9 $pid
finish
none_left '*sleep 98772*' 'nothing is left when the launcher is killed'

# ---- the list

# refused PATTERN TEXT OPTIONS...
refused() {
	pattern=$1
	printf '%b' "$2" >list
	shift 2
	"$launch" --hostfile list "$@" -- true 2>err
	like "$?" '^(64|78)$' "refused: $(tr '\n' '/' <list) $*"
	like "$(cat err)" "$pattern" 'says why'
	one_line err 'in one line'
}
refused 'list: no host' '# none\n'
refused 'list: line 2: "-oProxyCommand=x": not the name' 'h0\n-oProxyCommand=x\n'
refused 'list: line 3: h0 is there already' 'h0\n\nh0\n'
refused 'line 1: "cores=2": not slots=N' 'h0 cores=2\n'
refused 'line 1: "slots=2x": not 1 to' 'h0 slots=2x\n'
refused 'line 1: "x": after HOST' 'h0 slots=2 x\n'
refused 'line 2: slots=3, but' 'h0 slots=2\nh1 slots=3\n'
refused 'line 2: slots=3, but' 'h0\nh1 slots=3\n'
refused 'line 2: no slots, but' 'h0 slots=2\nh1\n'
refused '-n 3: list has slots=2' 'h0 slots=2\n' -n 3
refused '--hostfile and --nodes: only one' 'h0\n' --nodes 2
refused 'not HOST:PORT' 'h0\n' --master h0
expect_status 66 'no such list' "$launch" --hostfile none -- true
expect_status 64 'no key' "$launch" --over-ssh --nodes 1 --node 0 -- true </dev/null
done_testing
