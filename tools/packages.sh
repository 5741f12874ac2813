# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by tools/run, tools/test and .ci/run: speaks as $self, and installs what a build
# needs.

# What any program needs, and what the tests need beside it, by Debian's names.
program_packages=(g++ cmake ninja-build pkg-config libdnnl-dev libfmt-dev libhdf5-dev libxxhash-dev
                  libcli11-dev nlohmann-json3-dev)
test_packages=(libgtest-dev hdf5-tools python3-jsonschema)

say() { printf '%s: %s\n' "$self" "$*" >&2; }
die() {
  say "$1"
  exit "${2:-1}"
}

# Prints those of the packages "$@" that are not installed.
missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed' ||
      printf '%s\n' "$package"
  done
}

# Installs what is missing of "$@" on Debian and its kin; elsewhere checks the tools only, as the
# configuration names the libraries that it does not find.
require_packages() {
  local missing as_root=() log command
  if ! command -v dpkg-query >/dev/null; then
    for command in g++ cmake ninja pkg-config; do
      command -v "$command" >/dev/null || die "$command is missing. Wanted: a C++20 compiler, CMake \
3.25, Ninja, pkg-config; oneDNN, fmt, HDF5, xxHash, CLI11, nlohmann-json, with headers; for tests \
GoogleTest and h5diff"
    done
    return
  fi
  mapfile -t missing < <(missing_packages "$@")
  if [ "${#missing[@]}" -eq 0 ]; then return; fi
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "missing packages; as root: apt-get install \
--no-install-recommends ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  log=$(mktemp)
  if ! { "${as_root[@]}" apt-get update &&
         "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y \
           --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    rm -f "$log"
    die "apt-get failed; wanted: ${missing[*]}"
  fi
  rm -f "$log"
}

# Runs a command with its output shown only if it fails.
quietly() {
  local log
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}
