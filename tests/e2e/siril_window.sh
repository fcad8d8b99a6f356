#!/bin/bash
# Runs in the root, under a virtual screen: starts Siril with its windows, types lines into its
# command line, and waits until a file appears.
#
#   siril_window.sh FILE LINE...
set -euo pipefail
file=$1
shift
siril -o -d "$PWD" >siril_window.log 2>&1 &
siril=$!
trap 'kill $siril 2>/dev/null || true' EXIT
window=
for _ in $(seq 60); do
    window=$(xdotool search --onlyvisible --pid $siril --name "^Siril-" | head -1 || true)
    [ -n "$window" ] && break
    sleep 0.5
done
[ -n "$window" ] || { echo "Siril shows no window"; cat siril_window.log; exit 1; }
sleep 3
xdotool key Escape # the welcome of a first start
sleep 1
xdotool windowfocus "$window"
# The command line stands under the tabs, 157 pixels above the lower edge.
eval "$(xdotool getwindowgeometry --shell "$window")"
xdotool mousemove --window "$window" $((WIDTH / 2)) $((HEIGHT - 157)) click 1
for line in "$@"; do
    sleep 2
    xdotool type --delay 15 "$line"
    xdotool key Return
done
for _ in $(seq 400); do
    [ -e "$file" ] && exit 0
    kill -0 $siril || { echo "Siril has gone"; tail -50 siril_window.log; exit 1; }
    sleep 1
done
echo "$file did not appear"
tail -50 siril_window.log
exit 1
