# tap.sh - Test Anything Protocol for shell tests (POSIX sh).
#
#	. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
#	expect_status 0 'help works' "$BIN/imgshard" --help
#	is "$(cat out)" 'text' 'what it says'
#	done_testing
#
# Sourcing it sets TOP (the checkout) and BIN (default TOP/bin) and enters an
# empty temporary directory, removed at exit. REQUIRE is a comma list of words:
# a skip whose reason begins with one of them is a failure.
set -u
LC_ALL=C
# what is timed is not the same twice
ACCEL_TUNE=off
export LC_ALL ACCEL_TUNE
unset CDPATH RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE
# nor is a test a rank of the job that it may be run in
unset ACCEL_RANK ACCEL_WORLD_SIZE OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_SIZE \
	PMIX_RANK PMI_RANK PMI_SIZE MV2_COMM_WORLD_RANK MV2_COMM_WORLD_SIZE \
	SLURM_PROCID SLURM_NTASKS SLURM_STEP_NUM_TASKS

TOP=$(cd "${TOP:-$(dirname "$0")/..}" && pwd) || exit 1
BIN=$(cd "${BIN:-$TOP/bin}" && pwd) || exit 1
export TOP BIN

tap_count=0
tap_failed=0
tap_ended=
tap_dir=$(mktemp -d "${TMPDIR:-/tmp}/millrace-t.XXXXXX") || exit 1
tap_leave() {
	status=$?
	cd / && rm -rf "$tap_dir"
	# A script that stops half-way must not look like one that passed.
	if [ -z "$tap_ended" ] && [ "$status" -eq 0 ]; then
		status=1
	fi
	exit "$status"
}
trap tap_leave EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$tap_dir" || exit 1

# Print text as comment lines: on stderr, where prove lets them through.
tap_comment() {
	printf '%s\n' "$1" | sed 's/^/# /' >&2
}

# ok STATUS NAME: passed if STATUS is 0. Returns STATUS.
ok() {
	tap_count=$((tap_count + 1))
	if [ "$1" -eq 0 ]; then
		printf 'ok %d - %s\n' "$tap_count" "$2"
		return 0
	fi
	tap_failed=$((tap_failed + 1))
	printf 'not ok %d - %s\n' "$tap_count" "$2"
	tap_comment "not ok $tap_count - $2"
	return 1
}

# is GOT WANT NAME
is() {
	if [ "$1" = "$2" ]; then
		ok 0 "$3"
	else
		ok 1 "$3"
		tap_comment "     got: $1"
		tap_comment "expected: $2"
		return 1
	fi
}

# like TEXT PATTERN NAME: PATTERN is an extended regular expression
like() {
	if printf '%s\n' "$1" | grep -Eq -e "$2"; then
		ok 0 "$3"
	else
		ok 1 "$3"
		tap_comment "     got: $1"
		tap_comment "expected: /$2/"
		return 1
	fi
}

# unlike TEXT PATTERN NAME
unlike() {
	if printf '%s\n' "$1" | grep -Eq -e "$2"; then
		ok 1 "$3"
		tap_comment "  got: $1"
		tap_comment "wanted no match of /$2/"
		return 1
	fi
	ok 0 "$3"
}

# expect_status N NAME COMMAND...: stdout goes to ./out, stderr to ./err
expect_status() {
	tap_want=$1
	tap_name=$2
	shift 2
	tap_got=0
	"$@" >out 2>err || tap_got=$?
	if [ "$tap_got" -eq "$tap_want" ]; then
		ok 0 "$tap_name"
	else
		ok 1 "$tap_name"
		tap_comment "status $tap_got, expected $tap_want: $*"
		tap_comment "$(head -n 20 err)"
		return 1
	fi
}

# Commands with their streams changed, for expect_status:
# from FILE COMMAND..., to FILE COMMAND...; from_pipe and to_pipe do the same
# through a pipe; from_closed COMMAND..., to_closed COMMAND...
from() {
	tap_file=$1
	shift
	"$@" <"$tap_file"
}
to() {
	tap_file=$1
	shift
	"$@" >"$tap_file"
}
from_pipe() {
	tap_file=$1
	shift
	dd if="$tap_file" 2>/dev/null | "$@"
}
to_pipe() {
	tap_file=$1
	shift
	{
		tap_piped=0
		"$@" || tap_piped=$?
		echo "$tap_piped" >tap.status
	} | cat >"$tap_file"
	return "$(cat tap.status)"
}
from_closed() { "$@" <&-; }
to_closed() { "$@" >&-; }

# one_line FILE NAME: the file holds exactly one line
one_line() {
	tap_lines=$(wc -l <"$1")
	if [ "$tap_lines" -eq 1 ] && [ "$(tail -c 1 "$1" | wc -l)" -eq 1 ]; then
		ok 0 "$2"
	else
		ok 1 "$2"
		tap_comment "$((tap_lines)) lines:"
		tap_comment "$(head -n 20 "$1")"
		return 1
	fi
}

# same FILE FILE NAME: equal bytes
same() {
	if cmp -- "$1" "$2" >tap.cmp 2>&1; then
		ok 0 "$3"
	else
		ok 1 "$3"
		tap_comment "$(cat tap.cmp)"
		return 1
	fi
}

# Is the first word of a reason in the list REQUIRE?
tap_required() {
	tap_word=${1%%[ :]*}
	case ,${REQUIRE:-}, in
	*",$tap_word,"*) return 0 ;;
	esac
	return 1
}

# skip N REASON: N checks are not made
skip() {
	tap_n=$1
	while [ "$tap_n" -gt 0 ]; do
		tap_n=$((tap_n - 1))
		if tap_required "$2"; then
			ok 1 "required: $2"
		else
			tap_count=$((tap_count + 1))
			printf 'ok %d # skip %s\n' "$tap_count" "$2"
		fi
	done
	return 0
}

# skip_all REASON: ends the test script
skip_all() {
	tap_ended=1
	if tap_required "$1"; then
		ok 1 "required: $1"
		printf '1..%d\n' "$tap_count"
		exit 1
	fi
	printf '1..0 # SKIP %s\n' "$1"
	exit 0
}

# have_data NAME: sets DATA to the folder of test data, if it is there
have_data() {
	if [ -n "${MILLRACE_DATA:-}" ]; then
		DATA=$MILLRACE_DATA/$1
	else
		DATA=$TOP/../shared/data/$1
	fi
	[ -e "$DATA" ]
}

# The last line of a test script: prints the plan; exits 1 after a failure.
done_testing() {
	tap_ended=1
	printf '1..%d\n' "$tap_count"
	if [ "$tap_failed" -ne 0 ]; then
		printf '# %d of %d checks failed\n' "$tap_failed" "$tap_count" >&2
		exit 1
	fi
	exit 0
}
