#!/usr/bin/env bash
# Trains the model in the package: release.sh IMAGES WORK. Unattended; run it again to go on where it was stopped.
set -euo pipefail
images=$(realpath "$1") work=$2 here=$(cd "$(dirname "$0")" && pwd)
# The model that the first stage starts from: that of the release before, whose training configs/README.md tells.
start_commit=9755b0a

mkdir -p "$work"
[ -f "$work/all.csv" ] || python "$here/prepare_data.py" "$images" "$work"
[ -f "$work/start.safetensors" ] ||
  git -C "$here" show "$start_commit:bloodcell_batch/assets/default_model.safetensors" > "$work/start.safetensors"

stage() { # NAME MANIFEST START...: the mean of the starts, where there are several
  [ -f "$work/$1.safetensors" ] && return
  local name=$1 manifest=$2 starts=()
  for start in "${@:3}"; do starts+=(--init-weights "$work/$start.safetensors"); done
  # Without an interrupted training there, --resume starts a new one.
  bloodcell-batch train "$work/$manifest" --config "$here/$name.toml" "${starts[@]}" --set cache="$work/cache" \
    --out "$work/$name.safetensors" --resume
}
stage first first.csv start
stage second all.csv first
stage mean all.csv start second
echo "$work/mean.safetensors"
