#!/bin/sh
# Manual pages agree with the programs. Each option of the tables is an item
# (.It) of the program's page with its letter and a placeholder, and its default
# stands in the text of the item; recipe keys have theirs in config.5, which
# counts for all programs. No item is of an option that does not exist.
. "${TOP:=$(cd "$(dirname "$0")/.." && pwd)}/t/lib/tap.sh"

# items PAGE: a line "--option, tab, heading, tab, text" for each long option
# of each item; of --no-x it says --x.
items() {
    awk '
        function emit(d,    n, w, i, name) {
            n = split(head[d], w, " ")
            for (i = 1; i < n; i++) {
                if (w[i] != "Fl" || w[i + 1] !~ /^-./)
                    continue
                name = w[i + 1]
                sub(/^-no-/, "-", name)
                print "-" name "\t" head[d] " \t" text[d] " "
            }
            head[d] = text[d] = ""
        }
        { gsub(/\\-/, "-"); gsub(/\\&/, "") }
        /^\.Bl / { depth++ }
        /^\.(It|El)/ { emit(depth) }
        /^\.El/ { depth-- }
        /^\.It / { head[depth] = $0 }
        !/^\.(It|Bl|El)/ { for (d = 1; d <= depth; d++) text[d] = text[d] " " $0 }
    ' "$1"
}

# Rows of the table, tab-separated, that the items do not show as they should.
# An option of several commands is described in one of its items.
lacking() {
    awk -F'\t' '
        function has(text, word,    i, before, after) {
            while ((i = index(text, word)) > 0) {
                before = substr(" " text, i, 1)
                after = substr(text, i + length(word))
                if (before ~ /[ (]/ && after ~ /^([ ,;:)]|\.( |$)|$)/)
                    return 1
                text = after
            }
            return 0
        }
        NR == FNR {
            n[$1]++
            head[$1, n[$1]] = $2
            text[$1, n[$1]] = $3
            next
        }
        {
            name = $2; letter = $3; arg = $6; def = $7; why = "no item"
            for (i = 1; i <= n[name]; i++) {
                h = head[name, i]
                if (h ~ /^\.It Sy/ && $4 == "")
                    continue
                if (letter != "" && h !~ (" Fl " letter "[ ,]"))
                    w = "letter " letter
                else if ((arg != "") != (h ~ / (Ar|Cm) /))
                    w = "placeholder " (arg != "" ? arg : "where none is")
                else if (def == "true" && h !~ /Fl -no-/ &&
                         !has(text[name, i], "true"))
                    w = "default true"
                else if (def != "" && def != "true" && def != "false" &&
                         !has(text[name, i], def))
                    w = "default " def
                else
                    w = ""
                if (w == "" || why == "no item")
                    why = w
                if (w == "")
                    break
            }
            if (why != "" && name != "")
                print $1 " " name ": " why
        }' items options
}

touch recipe.items
[ ! -e "$TOP/man/config.5" ] || items "$TOP/man/config.5" > recipe.items
for page in "$TOP"/man/*.1; do
    prog=$(basename "$page" .1)
    "$BIN/$prog" --dump-options > options
    is $? 0 "$prog --dump-options" || continue
    items "$page" > page.items
    cat page.items recipe.items > items
    is "$(lacking)" "" "$prog.1: every option, placeholder, default"
    extra=$(cut -f1 page.items | sort -u | while read -r name; do
        [ "$name" = --dump-options ] ||
            cut -f2 options | grep -qx -- "$name" || echo "$name"
    done)
    is "$extra" "" "$prog.1: no option that is not"
    missing=$(cut -f5 options | sort -u | sed '/^$/d' | while read -r name; do
        grep -q "\.It Ev .*$name" "$page" || echo "$name"
    done)
    is "$missing" "" "$prog.1: every variable of the environment"
done

# Keys of recipes, some without an option
"$BIN/accel-worker" --dump-options | awk -F'\t' '$1 == "train" && $4 != "" {
    print $4, $2 }' > want
sed -n -e 's/^\.It Sy \([A-Z_.]*\) Pq .*Fl -\([a-z-]*\).*/\1 --\2/p' \
    -e 's/^\.It Sy \([A-Z_.]*\)$/\1 /p' \
    "$TOP/man/config.5" > have
sort want > want.sorted
sort have > have.sorted
is "$(diff want.sorted have.sorted)" "" "config.5: every key with its option, no other"

for page in "$TOP"/man/*.[157]; do
    if command -v mandoc >/dev/null 2>&1; then
        mandoc -T lint -W warning "$page" > messages 2>&1
        ok $? "$(basename "$page"): mandoc -T lint" || tap_comment "$(cat messages)"
    else
        skip 1 "mandoc is not here"
    fi
    missing=$(sed -n 's/^\.Xr \([a-z-]*\) \([157]\).*/\1.\2/p' "$page" |
        sort -u | while read -r name; do
            case $name in
            nohup.1 | tee.1 | ssh.1 | pv.1 | tar.1 | jq.1 | make.1 | sh.1 | \
                prove.1 | tar.5 | man.1) ;;
            *) [ -e "$TOP/man/$name" ] || echo "$name" ;;
            esac
        done)
    is "$missing" "" "$(basename "$page"): pages that it names are there"
done

# Variables of one program are in the environment of all of a pipeline.
refused=
for v in $(sed -n 's/^\.It Ev \(.*ACCEL_.*\)$/\1/p' "$TOP"/man/*.1 |
    tr -s ' ,' '\n' | grep '^ACCEL_' | sort -u); do
    for prog in imgshard accel-worker allreduce-ring ckpt-merge evalacc accel-launch; do
        env "$v=1" "$BIN/$prog" nothing > out 2> err
        ! grep -q 'unknown variable' err || refused="$refused $prog: $v"
    done
done
is "$refused" "" "every program knows the variables of the others"

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

done_testing
