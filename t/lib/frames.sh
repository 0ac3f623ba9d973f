# frames.sh - cut the frames of batches out of a stream.
#
# frames whole|pixels FILE: with labels and indices, or their pixels alone
frames() {
	perl -e 'undef $/; my $what = shift; my $b = <>; my $o = 0;
		while ($o < length $b) {
			my $n = unpack "Q<", substr($b, $o, 8);
			my $h = substr($b, $o + 8, $n);
			my $d = 0;
			$d = $1 > $d ? $1 : $d while $h =~ /data_offsets":\[\d+,(\d+)/g;
			print $what eq "whole" ? substr($b, $o, 8 + $n + $d)
				: substr($b, $o + 8 + $n + $1, $2 - $1)
				if $h =~ /"image":[^}]*data_offsets":\[(\d+),(\d+)/;
			$o += 8 + $n + $d;
		}' "$@"
}
