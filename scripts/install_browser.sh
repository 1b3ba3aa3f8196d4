#!/bin/sh
# Find or install a Chromium for the browser tests; where none can be had, they skip and say why.
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
echo "== installing Chromium for the browser tests"
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null && exit 0
fi
"$1" -m playwright install chromium && exit 0
echo "== no Chromium could be installed: the browser tests will be SKIPPED"
