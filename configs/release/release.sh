#!/usr/bin/env bash
# Trains the model in the package: release.sh IMAGES IMAGENET WORK. Unattended; run it again to go on where it was stopped.
set -euo pipefail
images=$(realpath "$1") imagenet=$(realpath "$2") work=$3 here=$(cd "$(dirname "$0")" && pwd)

mkdir -p "$work"
[ -f "$work/all.csv" ] || python "$here/prepare_data.py" "$images" "$work"

stage() { # OUT RECIPE MANIFEST SEED START...: from the mean of the starts, where there are several
  [ -f "$work/$1.safetensors" ] && return
  local starts=()
  for start in "${@:5}"; do starts+=(--init-weights "$start"); done
  # Without an interrupted training there, --resume starts a new one.
  bloodcell-batch train "$work/$3" --config "$here/$2.toml" --seed "$4" "${starts[@]}" --set cache="$work/cache" \
    --out "$work/$1.safetensors" --resume
}
stage first first first.csv 0 "$imagenet"
for seed in 0 1 2; do
  stage "second-$seed" second all.csv "$seed" "$work/first.safetensors"
done
stage together model all.csv 0 "$work"/second-{0,1,2}.safetensors
stage third third all.csv 0 "$work/together.safetensors"
stage model model all.csv 0 "$work"/{together,third}.safetensors
# Its int8 network, compared on the validation and test cells of all these laboratories.
[ -f "$work/model.int8.xml" ] ||
  bloodcell-batch export-openvino "$work/model.safetensors" --precision int8 --images "$work/all.csv" --max-images 4000 \
    --calibration-images 2000 --out "$work/model.int8.xml"
echo "$work/model.safetensors $work/model.int8.xml"
# For the package: copy the first to bloodcell_batch/assets/default_model.safetensors, then run
# python -m bloodcell_batch.export.packaged_networks "$work/model.int8.xml"
