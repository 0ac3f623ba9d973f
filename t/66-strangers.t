#!/bin/sh
# allreduce-ring over several hosts: the key, and strangers that knock.
. "${TOP:-$(dirname "$0")/..}/t/lib/tap.sh"
. "$TOP/t/lib/ports.sh"
. "$TOP/t/lib/procs.sh"

ring=$BIN/allreduce-ring
w=$BIN/t/61-comm.t

# ---- who is let in

"$ring" keygen key
is "$? $(stat -c '%a %s' key)" '0 600 32' 'keygen'
expect_status 73 'never overwrites' "$ring" keygen key
# shellcheck disable=SC2039,SC3045
(ulimit -f 0 && "$ring" keygen full) 2>&1 | cat >err
like "$(cat err)" '^allreduce-ring: full: write: ' 'a full disk'
[ ! -e full ]
ok $? 'leaves no half of a key'
"$ring" keygen other
cp key loose
chmod 640 loose
expect_status 77 'a key file that others can read' "$ring" --rank 0 --world 2 \
	--master 127.0.0.1:1 --key-file loose -- true
like "$(cat err)" 'mode 0640: others can read it' 'is refused'
head -c 31 key >short
chmod 600 short
expect_status 65 'a short key' "$ring" --rank 0 --world 2 --master 127.0.0.1:1 \
	--key-file short -- true
expect_status 66 'no key' "$ring" --rank 0 --world 2 --master 127.0.0.1:1 \
	--key-file none -- true
expect_status 64 'beyond loopback a key is needed' "$ring" --rank 0 --world 2 \
	--master 192.0.2.1:29500 --bind 192.0.2.2 -- true
like "$(cat err)" 'a key is needed: allreduce-ring keygen' 'and it says how'

# Strangers come while rank 0 waits: a wrong key, rubbish, silence, another run.
# One complaint a second is told: the next comes when it is over.
new_port
ACCEL_RUN_ID=one timeout 60 "$ring" --timeout 20 --rank 0 --world 2 --key-file key \
	--master 127.0.0.1:$port -- "$w" worker >out.0 2>err.0 &
first=$!
expect_status 77 'a wrong key' env ACCEL_RUN_ID=one "$ring" --timeout 20 --rank 1 --world 2 \
	--key-file other --master 127.0.0.1:$port -- true
like "$(cat err)" 'the keys differ' 'and is told so'
sleep 1.1
expect_status 78 'another run' env ACCEL_RUN_ID=two "$ring" --timeout 20 --rank 1 --world 2 \
	--key-file key --master 127.0.0.1:$port -- true
like "$(cat err)" 'this is run "one"' 'is told which this is'
sleep 1.1
if command -v perl >/dev/null; then
	perl -MIO::Socket::INET -e '
		sub knock {
			my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $ARGV[0]);
			print {$s} $_[0];
			$s->flush;
			1 while sysread($s, my $rest, 512);
			sleep 2;
		}
		my @silent = map { IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $ARGV[0]) } 1..8;
		knock("GET / HTTP/1.0\r\n\r\n" . "x" x 200);
		knock("ARNG" . pack("v", 1) . "\0" x 200);' $port
	await grep -q 'protocol 1.0' err.0
	like "$(cat err.0)" 'not an allreduce-ring: turned away' 'rubbish'
	like "$(cat err.0)" 'protocol 1.0, here 3.0: turned away' 'another version'
else
	skip 2 'perl'
fi
ACCEL_RUN_ID=one timeout 60 "$ring" --timeout 20 --rank 1 --world 2 --key-file key \
	--master 127.0.0.1:$port -- "$w" worker >out.1 2>err.1
is "$?" 0 'then the right one'
s=0
wait $first || s=$?
is "$s" 0 'and the run is unharmed'
like "$(cat out.0)" '^2 ranks, digest' 'and adds'
cp out.0 calm
like "$(cat err.0)" '127.0.0.1:[0-9]+: login: the keys differ: turned away' 'strangers are logged'

# A crowd that says nothing takes all places, and more: who knows the key still
# comes in at once, not when their time is over.
if command -v perl >/dev/null; then
	new_port
	timeout 60 "$ring" --timeout 40 --rank 0 --world 2 --key-file key \
		--master 127.0.0.1:$port -- "$w" worker >out.0 2>err.0 &
	first=$!
	mkfifo crowd
	perl -MIO::Socket::INET -e '
		my @s;
		while (@s < 300 && time() - $^T < 20) {
			my $x = IO::Socket::INET->new(PeerAddr => "127.0.0.1",
				PeerPort => $ARGV[0], Timeout => 2);
			$x ? push @s, $x : select(undef, undef, undef, 0.1);
		}
		open my $f, ">", "crowd"; print {$f} scalar(@s) . "\n"; close $f;
		sleep 60;' $port &
	crowd=$!
	read -r many <crowd
	is "$many" 300 'a crowd of silent strangers'
	timeout 60 "$ring" --timeout 25 --rank 1 --world 2 --key-file key \
		--master 127.0.0.1:$port -- "$w" worker >out.1 2>err.1
	is "$?" 0 'does not keep a rank out'
	kill $crowd
	wait $crowd 2>/dev/null
	s=0
	wait $first || s=$?
	is "$s" 0 'and the run is unharmed'
	like "$(cat err.0)" 'silent, and others wait: turned away' 'they make place'
else
	skip 4 'perl'
fi

# Four kinds at once, at the port where ranks join and at the one for data: half of
# a good hello, byte by byte and never the rest; a whole hello and then nothing; no
# more to say after half (a connection half closed); and gone with a reset, before
# anybody looks or after.
if command -v perl >/dev/null; then
	new_port
	join=$port
	new_port
	timeout 60 "$ring" --timeout 40 --rank 0 --world 2 --key-file key \
		--master 127.0.0.1:$join --ports $port,$port -- "$w" worker >out.0 2>err.0 &
	first=$!
	mkfifo torn
	perl -MIO::Socket::INET -MSocket -e '
		$SIG{PIPE} = "IGNORE";
		my $hello = "ARNG" . pack("v v", 2, 0) . "\0" x 92;
		my (@drip, @kept, %n);
		sub knock {
			for (1 .. 100) {
				my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1",
					PeerPort => $_[0], Timeout => 5);
				return $s if $s;
				select(undef, undef, undef, 0.1);
			}
			exit 1;
		}
		for my $i (1 .. 40) {
			for my $port (@ARGV) {
				push @drip, knock($port);
				my $s = knock($port);
				syswrite($s, $hello);
				push @kept, $s;
				$s = knock($port);
				syswrite($s, substr($hello, 0, 50));
				shutdown($s, 1);
				push @kept, $s;
				$s = knock($port);
				syswrite($s, substr($hello, 0, $i)) if $i % 2;
				setsockopt($s, SOL_SOCKET, SO_LINGER, pack("ii", 1, 0));
				close($s);
			}
		}
		for my $at (0 .. 49) {
			syswrite($_, substr($hello, $at, 1)) for @drip;
			if ($at == 5) {
				open my $f, ">", "torn"; print {$f} "there\n"; close $f;
			}
			select(undef, undef, undef, 0.02);
		}
		sleep 60;' $join $port &
	crowd=$!
	read -r there <torn
	is "$there" there 'strangers: byte by byte, silent, half closed, reset'
	timeout 60 "$ring" --timeout 25 --rank 1 --world 2 --key-file key \
		--master 127.0.0.1:$join -- "$w" worker >out.1 2>err.1
	is "$?" 0 'do not keep a rank out'
	kill $crowd
	wait $crowd 2>/dev/null
	s=0
	wait $first || s=$?
	is "$s" 0 'and the run is unharmed'
	same out.0 calm 'the same as before'
else
	skip 4 'perl'
fi

done_testing
