#!/bin/sh
# Builds a release of HEAD twice, from two clones at different paths and under
# different settings, and compares the checksums. Prints them where they agree.
# PLATFORMS, e.g. linux/amd64,darwin/arm64, restricts it to some platforms.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(git -C "$here" rev-parse --show-toplevel)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build() { # clone, results
	git clone -q --no-hardlinks "$root" "$1"
	go -C "$1/packaging" run ./release -root "$1" -out "$2" -platforms "${PLATFORMS:-}"
}

build "$work/a" "$work/dist-a"
(
	umask 077
	TZ=Pacific/Auckland LC_ALL=C GOFLAGS=-buildvcs=false GOAMD64=v3
	export TZ LC_ALL GOFLAGS GOAMD64
	build "$work/somewhere/else" "$work/dist-b"
)
if ! cmp "$work/dist-a/SHA256SUMS" "$work/dist-b/SHA256SUMS"; then
	diff "$work/dist-a/SHA256SUMS" "$work/dist-b/SHA256SUMS" || true
	echo "reproducible.sh: two builds of the same commit differ" >&2
	exit 1
fi
(cd "$work/dist-b" && sha256sum -c --quiet SHA256SUMS)
cat "$work/dist-a/SHA256SUMS"
