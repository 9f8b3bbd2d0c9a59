#!/usr/bin/env bash
# deploy/image.sh [TAG]: builds the static binary and the image FROM scratch. Needs Docker, Rust, a C compiler and libc's
# static archive (Debian: libc6-dev). PROFILE=dev builds faster and larger. The base image is empty, so nothing is pulled.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

profile=${PROFILE:-release}
host=$(rustc --version --verbose | sed -n 's/^host: //p')
target_dir=${CARGO_TARGET_DIR:-target}
folder=$profile
[ "$profile" != dev ] || folder=debug

# The gnu target links statically too; no name service modules are needed, since doorward resolves names itself.
RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --quiet --profile "$profile" --target "$host" -p doorward-proxy --bin doorward

built="$target_dir/$host/$folder/doorward"
# The image has neither a loader nor a library: what asks for one would not start there.
parts=$(readelf --wide --program-headers --dynamic "$built")
if grep -E '^ *INTERP|\(NEEDED\)' <<<"$parts" >&2; then
    echo "$built is not static" >&2
    exit 1
fi

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
cp "$built" "$stage/"
cp /etc/ssl/certs/ca-certificates.crt deploy/Dockerfile "$stage/"
docker build --quiet --tag "${1:-doorward:$(cargo pkgid -p doorward-proxy | sed 's/.*[#@]//')}" "$stage"
