#!/usr/bin/env bash
# Trains the model in the package: release.sh IMAGES WORK. Unattended; run it again to go on where it was stopped.
set -euo pipefail
images=$(realpath "$1") work=$2 here=$(cd "$(dirname "$0")" && pwd)
# The model that the first stage starts from: that of the release before, whose training configs/README.md tells.
start_commit=adb4f7a

mkdir -p "$work"
[ -f "$work/all.csv" ] || python "$here/prepare_data.py" "$images" "$work"
[ -f "$work/start.safetensors" ] ||
  git -C "$here" show "$start_commit:bloodcell_batch/assets/default_model.safetensors" > "$work/start.safetensors"

stage() { # NAME MANIFEST START
  [ -f "$work/$1.safetensors" ] && return
  # Without an interrupted training there, --resume starts a new one.
  bloodcell-batch train "$work/$2" --config "$here/$1.toml" --init-weights "$3" --set cache="$work/cache" \
    --out "$work/$1.safetensors" --resume
}
stage first first.csv "$work/start.safetensors"
stage second all.csv "$work/first.safetensors"
echo "$work/second.safetensors"
