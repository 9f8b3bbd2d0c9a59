#!/usr/bin/env bash
# nftables.sh REACH: loads the rules of `doorward inject --enforce nftables` as its init container does, in a network namespace of its
# own (`unshare --net --mount`), as root, and says who reaches what. REACH is nftables.py. The environment has COMMAND and RULES
# of the init container, AGENT_CAPS (what root has in an agent's container, for setpriv) and CONFINER_CAPS.
set -euo pipefail
reach=$1
trap 'echo "no namespaces, links or mounts: $BASH_COMMAND"; exit 3' ERR
ip link set lo up
mkdir -p /run/netns
mount -t tmpfs none /run/netns
ip netns add world
ip link add out type veth peer name in netns world
ip address add 10.98.0.1/24 dev out
ip address add fd98::1/64 dev out nodad
ip link set out up
ip -n world address add 10.98.0.2/24 dev in
ip -n world address add fd98::2/64 dev in nodad
ip -n world link set in up
trap - ERR

user() { echo setpriv --reuid="$1" --regid="$1" --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all; }
read -ra agent < <(user 1000)
read -ra sidecar < <(user 65532)
# Root of a container that was confined: what its runtime leaves it.
root=(setpriv --no-new-privs --inh-caps=-all --bounding-set="-all$AGENT_CAPS")

running=()
trap 'kill "${running[@]}" 2>/dev/null; wait' EXIT
# serve COMMAND…: until it says that it listens.
serve() {
    exec {said}< <(exec "$@")
    running+=("$!")
    read -r -u "$said"
}
serve ip netns exec world "$reach" serve tcp 10.98.0.2 443
serve ip netns exec world "$reach" serve tcp fd98::2 443
serve ip netns exec world "$reach" serve udp 10.98.0.2 53
serve ip netns exec world "$reach" serve udp fd98::2 53
serve "${sidecar[@]}" "$reach" serve tcp 127.0.0.1 3128
serve "${agent[@]}" "$reach" serve tcp 10.98.0.1 8080

echo "before: $("${agent[@]}" "$reach" tcp 10.98.0.2 443) $("${agent[@]}" "$reach" udp fd98::2 53)"
for _ in first second; do
    setpriv --no-new-privs --inh-caps=-all --bounding-set="-all$CONFINER_CAPS" sh -c "$COMMAND"
done
# Nothing that was looked up before helps.
ip neighbour flush all
for who in agent sidecar; do
    declare -n as=$who
    echo "$who out:" "$("${as[@]}" "$reach" tcp 10.98.0.2 443)" "$("${as[@]}" "$reach" tcp fd98::2 443)" \
        "$("${as[@]}" "$reach" udp 10.98.0.2 53)" "$("${as[@]}" "$reach" udp fd98::2 53)"
done
echo "agent to the proxy: $("${agent[@]}" "$reach" tcp 127.0.0.1 3128)"
echo "world to the agent: $(ip netns exec world "$reach" tcp 10.98.0.1 8080)"
echo "root out: $("${root[@]}" "$reach" tcp 10.98.0.2 443)"
echo "root by packets: $("${root[@]}" "$reach" packets)"
echo "root as the sidecar: $("${root[@]}" "$reach" become 65532)"
# A file that whoever runs it becomes the sidecar's user by.
cp "$(readlink -f "$(command -v python3)")" other
chown 65532 other
chmod 4755 other
echo "root by a file: $("${root[@]}" ./other "$reach" tcp 10.98.0.2 443)"
"${root[@]}" nft flush ruleset 2>/dev/null || true
echo "rules left: $(nft list ruleset | grep -c skuid)"
