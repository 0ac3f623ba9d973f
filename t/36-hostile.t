#!/bin/sh
# Names and members that somebody means badly: whatever a tar, a folder, a list
# or a manifest says, nothing is read or written elsewhere, nothing hangs, and
# what is refused is refused with one line.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
. "$TOP/t/lib/pictures.sh"

I=$BIN/imgshard
picture grey.jpg
mv grey.jpg g.jpg

# entry NAME TYPE [FILE [LINK [SIZE]]]: a member, appended to x.tar
entry() {
	size=${5:-}
	[ -n "$size" ] || [ -z "${3:-}" ] || size=$(printf '%011o' $(($(wc -c <"$3"))))
	dd if=/dev/zero of=head bs=512 count=1 2>/dev/null
	put() { printf '%s' "$2" | dd of=head bs=1 seek="$1" conv=notrunc 2>/dev/null; }
	put 0 "$1"
	put 100 0000644
	put 124 "${size:-00000000000}"
	put 136 00000000000
	put 148 '        '
	put 156 "$2"
	put 157 "${4:-}"
	put 257 ustar
	put 263 00
	put 148 "$(od -An -v -tu1 head | awk '{ for (i = 1; i <= NF; i++) s += $i }
		END { printf "%06o", s }')"
	dd if=/dev/zero of=head bs=1 seek=154 count=1 conv=notrunc 2>/dev/null
	cat head >>x.tar
	[ -z "${3:-}" ] || dd if="$3" bs=512 conv=sync 2>/dev/null >>x.tar
}
new() { : >x.tar; }
end() { dd if=/dev/zero bs=1024 count=1 2>/dev/null >>x.tar; }
long() { head -c "$1" /dev/zero | tr '\0' x; }

# ---- members of a tar
new
entry ../../up.jpg 0 g.jpg
entry /abs/olute.jpg 0 g.jpg
entry a/../b.jpg 0 g.jpg
entry 'new
line.jpg' 0 g.jpg
entry "$(printf 'e\033[31m\377\376.jpg')" 0 g.jpg
entry "sp ace	tab.jpg" 0 g.jpg
entry Case.jpg 0 g.jpg
entry case.jpg 0 g.jpg
entry 'dir.d/' 5
end
expect_status 0 'odd names' "$I" pack -o o --labels /dev/stdin x.tar <<'END2'
a
a
a
a
a
a
END2
like "$(cat out)" ' 6 samples' 'those with .. are hidden ones'
"$I" ls o/train.json | cut -f1 | sort >got
cat >want <<'END2'
abs/olute
Case
case
e__31m__
new_line
sp_ace_tab
END2
sort want >wanted
same got wanted 'have plain keys, apart by case'
expect_status 0 'sound' "$I" verify --full o/train.json
is "$(tar tf o/train-000000.tar | grep -c -e '^/' -e '\.\.')" 0 \
	'nothing leaves the folder'
# The keys of a foreign shard stay as they are; what cannot be is refused.
for name in 'new
line.jpg' "$(printf 'bell\007.jpg')" 'a b.jpg'; do
	new
	entry "$name" 0 g.jpg
	end
	expect_status 65 'no key' "$I" index -f x.tar
	one_line err 'one line'
done

printf x >bad
for name in 'new
line.jpg' "$(printf '\033[2J\377.jpg')"; do
	new
	entry "$name" 0 bad
	end
	expect_status 65 'is refused' "$I" pack -q -o p x.tar
	is "$(tr -d '\n -~' <err | wc -c | tr -d ' ')" 0 'in plain characters'
done

new
entry a.jpg 0 g.jpg
entry a.jpg 0 g.jpg
end
expect_status 65 'one name twice' "$I" pack -o p x.tar
like "$(cat err)" 'a\.jpg and .*a\.jpg: both have the key a: rename one$' 'both are named'
new
entry a.b.jpg 0 g.jpg
entry 'a?b.jpg' 0 g.jpg
end
expect_status 0 'two names that differ in what keys have not' \
	"$I" pack -f -o spelled x.tar
is "$("$I" ls spelled/train.json | cut -f1 | sort | tr '\n' ' ')" 'a+2Eb a+3Fb ' 'are spelled'
one_line err 'one line'
new
entry "$(printf '\302\2332J.jpg')" 0 g.jpg
end
expect_status 0 'a control character of two bytes' "$I" index -f x.tar
is "$("$I" ls x.json | cut -f1)" '??2J' 'is not shown'
is "$("$I" order --epoch 0 --batch 1 x.json | cut -f3)" '??2J' 'nowhere'
for type in 1:link 2:link 3:device 4:device 6:FIFO S:sparse; do
	new
	entry a.jpg 0 g.jpg
	entry l.jpg "${type%:*}" '' /etc/passwd
	end
	for c in 'pack -o p' 'index -f'; do
		# shellcheck disable=SC2086
		expect_status 65 "${type#*:}: ${c%% *}" "$I" $c x.tar
		like "$(cat err)" 'l\.jpg: ' 'named'
		one_line err 'one line'
	done
done
for size in 77777777777 -0000000001 '   12x     ' "$(printf '\377\377\377\377')"; do
	new
	entry a.jpg 0 g.jpg '' "$size"
	end
	expect_status 65 'a size that cannot be' "$I" pack -o p x.tar
	one_line err 'one line'
done
for n in 4000:0 5000:65; do
	new
	long "${n%:*}" >name
	printf '.jpg' >>name
	entry ././@LongLink L name
	entry short 0 g.jpg
	end
	expect_status "${n#*:}" "a name of ${n%:*} bytes" "$I" pack -q -f -o p x.tar
done
one_line err 'one line'

# ---- pictures that claim too much, or are of kinds that nobody reads here
# pic NAME OFFSET BYTES: g.jpg with other bytes in its frame header
sof=$(od -An -v -tx1 g.jpg | tr -d ' \n' | sed 's/ffc0.*//' | wc -c)
sof=$((sof / 2))
pic() {
	mkdir -p "pics/$1"
	cp g.jpg "pics/$1/a.jpg"
	printf '%b' "$3" | dd of="pics/$1/a.jpg" bs=1 seek=$((sof + $2)) \
		conv=notrunc 2>/dev/null
}
pic large 5 '\0377\0334\0377\0334'
pic pixels 5 '\0040\0001\0100\0000'
pic empty 5 '\0000\0000'
pic bits 4 '\0014'
pic lossless 1 '\0303'
pic hierarchical 1 '\0305'
pic components 9 '\0002'
mkdir pics/png pics/gif
printf '\211PNG\r\n\032\n\0\0\0\015IHDR\0\1\0\0\0\1\0\0\010\2\0\0\0abcd' \
	>pics/png/a.jpg
printf 'GIF89a' >pics/gif/a.jpg
# Only what claims nothing is allocated.
status=0
# shellcheck disable=SC2039,SC3045
([ -n "${SANITIZED:-}" ] || ulimit -v 300000
"$I" pack -o p3 pics) >out 2>err || status=$?
is $status 65 'pictures of all bad kinds'
for line in 'large.*65500x65500: a side is over 16384' \
	'pixels.*16384x8193: over 67108864 pixels' 'empty.*9x0: empty' \
	'bits.*12 bits a sample: not supported' \
	'lossless.*process SOF3: not supported' \
	'hierarchical.*process SOF5: not supported' 'components.*frame header: 9 bytes: too short' \
	'png.*65536x65536: a side is over 16384' 'gif.*neither JPEG'; do
	is "$(grep -c "^imgshard: pics/$line" err)" 1 "$line"
done
is "$(wc -l <err | tr -d ' ')" 10 'a line for each, and one for all'
rm pics/*/a.jpg

# ---- folders
mkdir -p src/a src/b
cp g.jpg src/a/one.jpg
cp g.jpg src/b/two.jpg
mkfifo src/a/f.jpg
expect_status 65 'a FIFO among the pictures' "$I" pack -o p2 src
like "$(cat err)" 'src/a/f\.jpg: neither a file nor a folder' 'is not waited for'
rm src/a/f.jpg
ln -s /dev/zero src/a/z.jpg
expect_status 65 'a device' "$I" pack -o p2 src
rm src/a/z.jpg
ln -s ../a src/a/loop
expect_status 65 'folders without an end' "$I" pack -o p2 src
one_line err 'one line'
rm src/a/loop
ln -s nowhere src/a/l.jpg
expect_status 65 'a link to nothing' "$I" pack -o p2 src
like "$(cat err)" 'src/a/l\.jpg: neither a file' 'is named'
rm src/a/l.jpg
bad=$(printf 'c\033[31m')
mkdir "src/$bad"
cp g.jpg "src/$bad/y.jpg"
expect_status 0 'a class that a terminal would obey' "$I" pack -o obeyed src
expect_status 0 'counted' "$I" stats obeyed/train.json
is "$(tr -d '\n\t -~' <out | wc -c | tr -d ' ')" 0 'in plain characters'
key=$("$I" ls obeyed/train.json | grep '^c_' | cut -f1)
expect_status 0 'shown' "$I" show --batch 1 obeyed/train.json "$key"
like "$(cat out)" '^class	c\?\[31m$' 'in plain characters'
is "$("$I" show --json --batch 1 obeyed/train.json "$key" | jq -r .class)" "$bad" 'as JSON what it is'
rm -r "src/$bad"
bad=$(printf 'c\377')
mkdir "src/$bad"
cp g.jpg "src/$bad/a.jpg"
expect_status 65 'a class that is not UTF-8' "$I" pack -o p2 src
like "$(cat err)" 'class "c\?": the name is not UTF-8' 'named'
rm -r "src/$bad"
expect_status 64 'such a name of the set' "$I" pack -o p2 --name "$bad" src
expect_status 64 'such a split' "$I" pack -o p2 --split "$bad" src
printf 'a\n%s\n' "$bad" >classes
expect_status 65 'such a list of classes' "$I" pack -o p2 --classes classes src
printf 'a\nb\0\n' >classes
expect_status 65 'a list that is no text' "$I" pack -o p2 --classes classes src
is "$(ls p2 2>/dev/null)" "" 'nothing was written'
expect_status 0 'without all that' "$I" pack -o p2 src

mkdir ro
chmod 555 ro
mount -t tmpfs -o ro tmpfs ro 2>/dev/null # root may write anywhere else
if (: >ro/x) 2>/dev/null; then
	skip 2 'mount: not allowed here'
else
	expect_status 73 'a folder that nothing can be put into' \
		"$I" pack -o ro/new/x src
	like "$(cat err)" 'ro/new: make directory: (Read-only|Permission)' 'says why'
	umount ro 2>/dev/null
fi

# ---- manifests and indexes
# edit NAME SED: the manifest changed, its reading refused
edit() {
	sed "$2" p2/train.json >p2/bad.json
	if cmp -s p2/train.json p2/bad.json; then
		ok 1 "$1: changes something"
	fi
	expect_status 65 "$1" "$I" ls p2/bad.json
	one_line err 'one line'
}
edit 'a shard above' 's|"file":"train-0|"file":"../train-0|'
edit 'a shard of the root' 's|"file":"train-000000.tar|"file":"/etc/passwd|'
edit 'an index above' 's|"file":"train.index|"file":"a/../../train.index|'
edit 'a line end in a name' 's|"file":"train-0|"file":"x\\ntrain-0|'
edit 'more samples than there are' 's|"samples":2|"samples":4000000000|g'
edit 'a shard too long' 's|"bytes":[0-9]*|"bytes":99999999999999999999|'
edit 'classes twice' 's|"classes":|"classes":[],"classes":|'
edit 'labels of no class' 's|"classes":\[.*\],"dataset|"classes":[],"dataset|'
edit 'half of it' 's|"shards".*||'
sed 's|a/one|a\none|' p2/train.index.safetensors | tr '\001' '\001' >bad.index
if [ "$(wc -c <bad.index)" -eq "$(wc -c <p2/train.index.safetensors)" ]; then
	cp bad.index p2/train.index.safetensors
	expect_status 65 'a line end in a key' "$I" ls p2/train.json
	one_line err 'one line'
else
	skip 2 'sed: not for binary files here'
fi
done_testing
