#!/bin/sh
# evalacc top: what it prints, what it refuses, how it ends.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
E=$BIN/evalacc
make_stream() { "$BIN/t/80-topk.t" stream "$@"; }

# ---- text

printf 'a 0 .9 .1\nb 1 .2 .8\nc 1 .5 .5\nd 0 .5 .5\n' >two
expect_status 0 'scores as text' "$E" top two
is "$(cat out)" '{"top1":0.75,"top5":1.0,"correct1":3,"correct5":4,"n":4}' \
    'one JSON line: the lower index wins a tie'
is "$(cat err)" '' 'nothing on stderr'
expect_status 0 'from standard input' from two "$E" top -
is "$(cat out)" '{"top1":0.75,"top5":1.0,"correct1":3,"correct5":4,"n":4}' \
    'the same line'
expect_status 0 'k of 2 only' "$E" top -k 2 two
is "$(cat out)" '{"top2":1.0,"correct2":4,"n":4}' 'keys follow -k'
expect_status 0 'k in any order, above the classes' "$E" top -k 100,1 two
is "$(cat out)" \
    '{"top100":1.0,"top1":0.75,"correct100":4,"correct1":3,"n":4}' \
    'a label is always among all classes'

printf 'a 7 7 1 2 3 4\nb 7 1 2 3 4 7\nc 7 1 2 3 4 5\n' >named
expect_status 0 'classes as text' "$E" top named
is "$(cat out)" \
    '{"top1":0.3333333333333333,"top5":0.6666666666666666,"correct1":1,"correct5":2,"n":3}' \
    'classes in falling order'
expect_status 64 'more than are named' "$E" top -k 6 named
one_line err 'one line'
printf 'a 2 5 6 7\n' >whole
expect_status 0 'whole numbers as scores' "$E" top -k1 --text scores whole
is "$(cat out)" '{"top1":1.0,"correct1":1,"n":1}' 'when it is said'

printf '\357\273\277# of another system\r\na 0 .9 .1\r\n' >marked
expect_status 0 'a mark in front, other line ends' "$E" top -k1 marked
is "$(cat out)" '{"top1":1.0,"correct1":1,"n":1}' 'are passed over'
printf 'a 0 7.5\nb 0 -1\n' >single
expect_status 0 'one class' "$E" top single
is "$(cat out)" '{"top1":1.0,"top5":1.0,"correct1":2,"correct5":2,"n":2}' \
    'is always right'
printf 'a 0 nan 1\nb 1 0.5 1.5\n' >nan
expect_status 0 'NaN' "$E" top nan
is "$(cat out)" '{"top1":0.5,"top5":0.5,"correct1":1,"correct5":1,"n":2}' \
    'is wrong at every k'
like "$(cat err)" '1 of 2 samples have NaN' 'and said'

# ---- refused text

# refuse STATUS TEXT PATTERN: a file of this text
refuse() {
    printf '%b' "$2" >bad
    expect_status "$1" "refused: $3" "$E" top bad
    one_line err 'one line'
    like "$(cat err)" "^evalacc: bad.*$3" 'with the reason'
    is "$(cat out)" '' 'nothing on stdout'
}
refuse 65 '' 'empty'
refuse 65 '\n' 'no predictions'
refuse 65 'a 2 .1 .2\n' ':1: label 2'
refuse 65 'a -1 .1 .2\n' ':1: label -1'
refuse 65 'a 0 .1 .2\na 1 .1 .2\n' ':2: key "a": predicted twice'
refuse 65 'a 0 .1 .2\nb 1 .1\n' ':2: 1 predictions'
refuse 65 'a 0 .1 x\n' ':1: score "x"'
expect_status 66 'a file that is not there' "$E" top nothing
one_line err 'one line'
expect_status 74 'a directory' "$E" top .
one_line err 'one line'
printf 'a 0 .9 .1\n' >again
expect_status 65 'a key in two files' "$E" top two again
expect_status 65 'samples missing' "$E" top --samples 5 two
like "$(cat err)" '1 of 5 samples are missing' 'the count'
expect_status 0 'allowed' "$E" top --samples 5 --allow-missing two
like "$(cat err)" '1 samples are missing: not counted' 'and said'
expect_status 65 'too many' "$E" top --samples 3 --allow-missing two
printf 'a 0 .9 .1' >open
expect_status 0 'no line end' "$E" top open
like "$(cat err)" 'no line end' 'is said'

# ---- usage

expect_status 64 'no operand' "$E" top
expect_status 64 'no command' "$E"
expect_status 64 'k of 0' "$E" top -k 0 two
expect_status 64 'k twice' "$E" top -k 1,1 two
expect_status 64 'unknown option' "$E" top --topk 1 two
expect_status 64 'coco has no place yet' "$E" coco two

# ---- bars

expect_status 0 'a bar that is met' "$E" top --require top1=0.75 two
expect_status 1 'a bar that is not' "$E" top --require top1=0.7501 two
is "$(cat err)" 'evalacc: top1: 0.75 is below the required 0.7501' 'says so'
is "$(cat out)" '{"top1":0.75,"top5":1.0,"correct1":3,"correct5":4,"n":4}' \
    'the result is printed all the same'
expect_status 1 'several bars' "$E" top --require top1=0.8 --require n=5 two
one_line err 'one line'
like "$(cat err)" 'top1: .*; n: 4.0 is below' 'names each'
expect_status 64 'a bar without a value' "$E" top --require top1 two
expect_status 64 'a bar of no number' "$E" top --require top1=high two
expect_status 64 'a bar in per cent' "$E" top --require top1=75 two
expect_status 64 'a bar for a key that is not there' \
    "$E" top --require top3=0.5 two
one_line err 'one line'

# ---- streams

make_stream 0 10 21 7 >a
make_stream 10 11 21 7 >b
expect_status 0 'two streams' "$E" top a b
cp out both
is "$(cat both)" \
    '{"top1":0.5238095238095238,"top5":0.8095238095238095,"correct1":11,"correct5":17,"n":21}' \
    'counted together'
make_stream 0 21 21 7 >whole
expect_status 0 'one stream, from a pipe' from_pipe whole "$E" top -
same out both 'the same bytes'
expect_status 0 'one of them from standard input' \
    from a "$E" top b -
same out both 'the same bytes'
expect_status 65 'half the samples' "$E" top a
like "$(cat err)" '11 of 21 samples are missing: 10, 11, 12, 13, 14, \.\.\.' \
    'named'
expect_status 0 'half of them allowed' "$E" top --allow-missing a
like "$(cat out)" '"n":10}' 'counted alone'
expect_status 65 'a stream twice' "$E" top a b a
one_line err 'one line'
make_stream 10 11 21 8 >c
expect_status 65 'another number of classes' "$E" top a c
expect_status 65 'another data set size' "$E" top --samples 22 a b
expect_status 65 'text beside streams' "$E" top a two
expect_status 65 'streams beside text' "$E" top two a
cat a b >joined
expect_status 65 'streams behind each other' "$E" top joined
like "$(cat err)" '^evalacc: joined: goes on behind its end' 'are not half read'
sed 's/"proto":"1\.0"/"proto":"2.0"/' whole >other
expect_status 78 'another protocol' "$E" top other
like "$(cat err)" 'other: frame 0: protocol "2\.0", here 1\.0$' 'is told'
sed 's/"rows":"21"/"rows":"22"/' whole >other
expect_status 65 'a row that did not come' "$E" top other
like "$(cat err)" '^evalacc: other: frame 7 at byte [0-9]+: end frame counts 22 rows, 21 were read$' 'is missed'
head -c 300 a >short
expect_status 74 'a stream that was cut' "$E" top short b
one_line err 'one line'
echo '[[1]]' >sets
expect_status 64 'sets of classes need keys' "$E" top --real sets a b

# ---- a writer that stops

mkfifo never half lines
expect_status 76 'a pipe that nobody opens' "$E" top --timeout 1 never
is "$(cat err)" 'evalacc: never: deadline passed: nothing came' 'one line'
exec 9<>half
head -c 300 a >&9
expect_status 76 'a stream that stands still' "$E" top --timeout 1 b half
like "$(cat err)" '^evalacc: half: .*deadline passed' 'says where'
exec 9<>lines
printf 'a 0 .9 .1\nb 1 .2' >&9
expect_status 76 'lines that stand still' "$E" top --timeout 1 lines
is "$(cat err)" 'evalacc: lines:2: deadline passed: nothing came' 'says where'
exec 9>&-
expect_status 0 'a file has no deadline' "$E" top --timeout 1 two
expect_status 0 'nor has who wants none' from_pipe two "$E" top --timeout 0 -

# ---- the end of stdout

expect_status 74 'closed stdout' to_closed "$E" top two
one_line err 'one line'
if [ -w /dev/full ]; then
    expect_status 74 'full disk' to /dev/full "$E" top two
    one_line err 'one line'
else
    skip 2 'no /dev/full'
fi
expect_status 65 'closed stdin: no predictions' from_closed "$E" top -

done_testing
