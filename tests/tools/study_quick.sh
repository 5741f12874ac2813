#!/usr/bin/env bash
# study_quick.sh PROGRAM STUDY FOLDER CHECK SCHEMA PYTHON: a study with --quick, twice: on all processors
# and on one. Both must leave the same bytes, and what they leave must be good (study_check.py, whose
# exit status is ours). The screenshot stays in FOLDER.
set -euo pipefail
program=$1 study=$2 folder=$3 check=$4 schema=$5 python=$6

rm -rf "$folder"
mkdir -p "$folder/all" "$folder/one"
started=$SECONDS
(cd "$folder/all" && "$program" "$study" --quick --out out)
took=$((SECONDS - started))
echo "took $took s"
[ "$took" -lt 20 ] || { echo "expected less than 20 s" && exit 1; }
# Times are no two times the same.
if [ "$study" != overhead ]; then
  (cd "$folder/one" && OFFSHOOT_THREADS=1 "$program" "$study" --quick --out out) > "$folder/one/log"
  for file in results.json page.html; do
    cmp "$folder/all/out/$file" "$folder/one/out/$file"
  done
  # What is finished is not run again, and comes to the same.
  (cd "$folder/one" && rm out/results.json && "$program" "$study" --quick --out out) > "$folder/one/log"
  [ "$(grep -cE '^([0-9]+) of \1 runs are there already' "$folder/one/log")" -ge 1 ]
  cmp "$folder/all/out/results.json" "$folder/one/out/results.json"
fi
"$python" "$check" "$folder/all/out/results.json" "$schema" "$folder/all/out/page.html" \
  "$folder/$study.png"
