#!/usr/bin/env bash
# compose.sh REPOSITORY DOORWARD SCRATCH: runs deploy/compose/compose.yaml with Docker's own engine, for real. In a network and mount
# namespace of its own (`unshare --net --mount`), as root: nothing of the machine's networks is touched, nothing is pulled.
# Prints what the agent saw and what the origin was shown, a line each.
set -euo pipefail
repository=$1 doorward=$2 scratch=$3
cd "$scratch"
trap 'echo "no namespaces, bridges or mounts: $BASH_COMMAND"; exit 3' ERR
ip link set lo up
# The world: another namespace behind a link, so that a way to it leads out of the engine's machine.
mkdir -p /run/netns
mount -t tmpfs none /run/netns
ip netns add world
ip link add out type veth peer name in netns world
ip address add 10.98.0.1/24 dev out
ip link set out up
ip -n world address add 10.98.0.2/24 dev in
ip -n world link set in up
ip -n world route add default via 10.98.0.1
trap - ERR
mkdir -p docker exec site
dockerd --data-root "$scratch/docker" --exec-root "$scratch/exec" -H "unix://$scratch/docker.sock" --pidfile "$scratch/docker.pid" \
    --storage-driver vfs --bridge none >dockerd.log 2>&1 &
engine=$!
export DOCKER_HOST="unix://$scratch/docker.sock" COMPOSE_PROJECT_NAME=doorward
ended() {
    docker-compose -f site/compose.yaml -f site/test.yaml down --timeout 1 >/dev/null 2>&1 || true
    kill "$engine" 2>/dev/null && wait "$engine" || true
}
trap ended EXIT
for _ in $(seq 300); do docker version >/dev/null 2>&1 && break; sleep 0.1; done
docker version >/dev/null || { cat dockerd.log; exit 3; }

# staged PROGRAM FOLDER: a program with what it is linked with, and nothing else.
staged() {
    mkdir "$2"
    ldd "$1" | grep -o '/[^ ]*' | sort -u | xargs -I{} cp -L --parents {} "$2/"
    cp -L "$1" "$2/$(basename "$1")"
}
# As deploy/Dockerfile, but for a program that is linked dynamically: the one that the other tests run.
staged "$doorward" image
cp /etc/ssl/certs/ca-certificates.crt image/
sed 's|^COPY doorward .*|COPY . /|' "$repository/deploy/Dockerfile" >image/Dockerfile
docker build --quiet --tag doorward:test image >/dev/null 2>&1
staged "$(command -v curl)" agent
printf 'FROM scratch\nCOPY . /\nENTRYPOINT ["/curl"]\n' >agent/Dockerfile
docker build --quiet --tag agent:test agent >/dev/null 2>&1

# As the head of the example says.
cp "$repository/deploy/compose/compose.yaml" site/
cd site
mkdir -p secrets/pat public providers origin
token=canary-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
printf %s "$token" >secrets/pat/token
own=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
(umask 077; printf 'builder:%s\n' "$own" >agents)
cat >providers/api.yaml <<EOF
apiVersion: doorward.dev/v1alpha1
kind: Provider
metadata: {name: api}
spec:
  type: http-token
  host: api.test
  auth: {type: bearer, secretRef: pat, secretKey: token}
EOF
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=api.test -addext subjectAltName=DNS:api.test \
    -addext basicConstraints=critical,CA:FALSE -keyout origin/key.pem -out origin/cert.pem 2>/dev/null
chmod -R go-w .
chown -R 65532:65532 secrets agents public
cat >test.yaml <<EOF
services:
  doorward:
    environment:
      DOORWARD_RESOLVE: "api.test:443:10.98.0.2:8443"
      DOORWARD_ALLOW_CIDR: 10.98.0.0/24
      DOORWARD_UPSTREAM_CA: /origin/cert.pem
    volumes: ["./origin:/origin:ro"]
EOF
export DOORWARD_IMAGE=doorward:test AGENT_IMAGE=agent:test
compose() { docker-compose -f compose.yaml -f test.yaml "$@"; }

# The origin says what it was shown, and so tries to show the agent.
ip netns exec world python3 - origin >shown 2>origin.log <<'EOF' &
import http.server, ssl, sys
class Origin(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print(self.path, self.headers["Authorization"], flush=True)
        body = f"echo {self.headers['Authorization']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.HTTPServer(("10.98.0.2", 8443), Origin)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/cert.pem", sys.argv[1] + "/key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
EOF
origin=$!
compose up -d doorward >/dev/null 2>&1
for _ in $(seq 100); do docker inspect --format '{{.State.Health.Status}}' doorward_doorward_1 | grep -q ^healthy && break; sleep 0.2; done
agent() { compose run --rm -T agent --silent --show-error --max-time 10 "$@" 2>&1 || true; }
echo "agent: $(agent --proxy "http://builder:$own@doorward:3128" --cacert /public/ca.crt https://api.test/through | tail -1)"
echo "elsewhere: $(agent --proxy "http://builder:$own@doorward:3128" --cacert /public/ca.crt https://other.test/ | tail -1)"
echo "around: $(agent --noproxy '*' --insecure --max-time 3 https://10.98.0.2:8443/around | grep -o '^curl: ([0-9]*)' | tr -dc 0-9)"
kill "$origin"
sed 's/^/origin: /' shown
echo "health: $(docker inspect --format '{{.State.Health.Status}} {{.HostConfig.ReadonlyRootfs}} {{.Config.User}}' doorward_doorward_1)"
compose logs --no-color doorward >"$scratch/doorward.log" 2>&1
if grep -rq "$token" public; then echo "leak: the secret is in what the agent can read"; fi
# For the test: what must not be in the agent's answers.
echo "token: $token"
