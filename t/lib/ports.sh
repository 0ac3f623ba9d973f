# ports.sh - TCP ports of one's own. Source it after tap.sh.

# Below what the kernel gives to connections; scripts that run side by side have
# neighbouring process ids and begin 97 ports apart.
port=$((10000 + $$ * 97 % 22000))

# new_port: $port is the next port that no socket of this machine has
new_port() {
	port=$((port + 1))
	while grep -qi ":$(printf %04X $port) " /proc/net/tcp /proc/net/tcp6 2>/dev/null; do
		port=$((port + 1))
	done
}
