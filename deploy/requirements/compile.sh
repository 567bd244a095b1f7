#!/usr/bin/env bash
# Writes api.txt, worker.txt and build.txt: what the Dockerfiles install, with the hash of every file of every version.
# Run it after a change of the dependencies in pyproject.toml or of constraints.txt. Needs uv.
#
#   deploy/requirements/compile.sh
#
# torch is the exception: the Dockerfile installs it afterwards, since its build for CPUs comes from another index and has
# other hashes. Its dependencies that are the same in both builds are named here, so that they have hashes too.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=deploy/requirements
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
printf 'torch; sys_platform == "never"\n' >"$scratch/without-torch.txt"
printf '%s\n' filelock fsspec jinja2 networkx sympy typing-extensions setuptools >"$scratch/of-torch.in"
printf 'setuptools\n' >"$scratch/build.in"

compile() { # NAME INPUT...: write one file
  local name=$1
  shift
  uv pip compile "$@" --constraints constraints.txt --override "$scratch/without-torch.txt" --python-version 3.11 \
    --generate-hashes --no-annotate --quiet --custom-compile-command deploy/requirements/compile.sh \
    --output-file "$folder/$name"
}

compile api.txt pyproject.toml --extra api --extra watch --extra s3
compile worker.txt pyproject.toml "$scratch/of-torch.in" --extra worker --extra viewer --extra s3
compile build.txt "$scratch/build.in"
