#!/bin/sh
# Builds the archives of a release: leanlink and cargo-size-report, static, for
# Linux on x86-64 and arm64, with checksums. The same source and the same Go
# make the same bytes, wherever it is done.
#
#     cargo-plugin/release.sh [FOLDER]      the archives go there (default: dist)
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root/dist}
mkdir -p "$out"
out=$(cd "$out" && pwd)
version=$(sed -n 's/^const Version = "\(.*\)"$/\1/p' "$root/linker/commands.go")
[ -n "$version" ] || { echo "release.sh: linker/commands.go names no version" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cd "$root"
# The time in the archives: of the commit, so that it is the same everywhere.
when=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
for arch in amd64:x86_64 arm64:aarch64; do
	name=leanlink-$version-${arch#*:}-linux
	mkdir "$work/$name"
	CGO_ENABLED=0 GOOS=linux GOARCH=${arch%:*} GOFLAGS=-mod=readonly \
		go build -trimpath -buildvcs=false -ldflags '-s -w -buildid=' -o "$work/$name/" ./linker/leanlink ./cargo-plugin/cargo-size-report
	for file in README.md LICENSE-MIT LICENSE-APACHE CHANGELOG.md docs/install.md; do
		if [ -f "$file" ]; then cp "$file" "$work/$name/"; fi
	done
	chmod 755 "$work/$name" "$work/$name/leanlink" "$work/$name/cargo-size-report"
	tar -C "$work" --sort=name --mtime="@$when" --owner=0 --group=0 --numeric-owner --format=ustar -cf "$work/$name.tar" "$name"
	gzip -9 -n -c "$work/$name.tar" >"$work/$name.tar.gz"
	mv "$work/$name.tar.gz" "$out/$name.tar.gz"
	echo "$out/$name.tar.gz"
done
cd "$out"
sha256sum "leanlink-$version-x86_64-linux.tar.gz" "leanlink-$version-aarch64-linux.tar.gz" >SHA256SUMS
echo "$out/SHA256SUMS"
