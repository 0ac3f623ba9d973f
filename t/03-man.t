#!/bin/sh
# Manual pages agree with the programs: every option, placeholder, key and
# default of the tables stands in the page, and the page names no other option.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"

tab=$(printf '\t')
for page in "$TOP"/man/*.1; do
    prog=$(basename "$page" .1)
    "$BIN/$prog" --dump-options > options || { ok 1 "$prog --dump-options"; continue; }

    # as a reader sees it: words joined to one line, no markup
    sed -e 's/\\-/-/g' -e 's/\\&//g' "$page" > text

    missing=$(cut -f2 options | sort -u | sed '/^$/d' | while read -r name; do
        word=${name#--}
        grep -qE "^\.(It|Op|Oo)? ?.*Fl (Fl|-) ?-?$word( |\$|\\\\)|Fl -$word( |\$|,)" text ||
            echo "$name"
    done)
    is "$missing" "" "$prog.1: every option is there"

    extra=$(grep -oE 'Fl -[a-z][a-z0-9-]*' text | sed 's/Fl -//' | sort -u |
        while read -r word; do
            cut -f2 options | grep -qx -- "--$word" ||
                cut -f2 options | grep -qx -- "--${word#no-}" || echo "--$word"
        done)
    is "$extra" "" "$prog.1: no option that is not"

    missing=$(cut -f4 options | sort -u | sed '/^$/d' | while read -r key; do
        grep -qF "$key" text || grep -qF "$key" "$TOP/man/config.5" || echo "$key"
    done)
    is "$missing" "" "$prog.1, config.5: every key is there"
done

for page in "$TOP"/man/*.[157]; do
    if command -v mandoc >/dev/null 2>&1; then
        mandoc -T lint -W warning "$page" > lint 2>&1
        ok $? "$(basename "$page"): mandoc -T lint"
    fi
done
for prog in $(cd "$TOP/src" && grep -l '^int main' ./*.c | sed 's|./||;s/\.c$//'); do
    [ -f "$TOP/man/$prog.1" ]
    ok $? "$prog has a page"
    "$BIN/$prog" --help > out 2> err
    is $? 0 "$prog --help: status"
    is "$(cat err)" "" "$prog --help: nothing on stderr"
    "$BIN/$prog" --nonsense > out 2> err
    is $? 64 "$prog --nonsense: status"
    one_line err "$prog --nonsense: one line"
done
: "$tab"

done_testing
