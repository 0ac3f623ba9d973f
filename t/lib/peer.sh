# peer.sh - comparisons written in Python, for tests that source tap.sh.
#
# peer_needs MODULE... skips the test where Python (PEER_PYTHON) lacks one.
# peer_run NAME SCRIPT [ARG]... runs a script, whose lines "ok - what" and "not
# ok - what" become tests; that it ends well is one more.

PY=${PEER_PYTHON:-python3}
PYTHONPATH=$TOP/t/peer
PYTHONDONTWRITEBYTECODE=1
export TOP PYTHONPATH PYTHONDONTWRITEBYTECODE

peer_needs() {
    for module; do
        "$PY" -c "import $module" 2> /dev/null || skip_all "peer: no $module"
    done
}

peer_run() {
    peer_name=$1
    shift
    "$PY" -W ignore "$@" > table 2> err
    peer_status=$?
    while read -r line; do
        case $line in
        'ok - '*) ok 0 "${line#ok - }" ;;
        'not ok - '*) ok 1 "${line#not ok - }" ;;
        *) echo "$line" ;;
        esac
    done < table
    is "$peer_status" 0 "$peer_name: the comparison ran"
    [ "$peer_status" -eq 0 ] || tap_comment "$(tail -n 3 err)"
}
