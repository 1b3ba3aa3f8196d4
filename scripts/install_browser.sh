#!/bin/sh
# Find or install a Chromium for the browser tests; where none can be had, they skip and say why.
# The headless one is preferred: it draws no windows, tabs and menus, which nobody sees.
has() { command -v "$1" >/dev/null; }
install() {
    has apt-get && [ "$(id -u)" = 0 ] || return 1
    echo "== installing $1 for the browser tests"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1" >/dev/null 2>&1
}
for name in chromium-headless-shell chromium; do
    has $name || install $name && exit 0
done
has chromium-browser || has google-chrome && exit 0
echo "== installing Chromium for the browser tests"
"$1" -m playwright install chromium && exit 0
echo "== no Chromium could be installed: the browser tests will be SKIPPED"
