#!/bin/sh
# Find or install qemu's emulator of other processors; where it cannot be had, its test skips and says why.
command -v qemu-x86_64 >/dev/null && exit 0
[ "$(uname -sm)" = "Linux x86_64" ] || exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "== installing qemu to test other processors"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq qemu-user >/dev/null && exit 0
fi
echo "== no qemu could be installed: other processors will NOT be tested"
