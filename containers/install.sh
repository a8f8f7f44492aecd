#!/bin/sh
# install.sh CHECKOUT ENVIRONMENT: install scvae at the versions of requirements.lock, without
# what only tests and documentation need. Dockerfile and scvae.def call it.
set -eu
python3 -m venv "$2"
# On Linux, torch of PyPI brings gigabytes of CUDA; torch's own index has it for CPUs alone, and
# nothing but torch comes from there.
"$2/bin/pip" install --no-cache-dir --disable-pip-version-check \
  --index-url "${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}" --no-deps \
  "$(grep '^torch==' "$1/requirements.lock")"
"$2/bin/pip" install --no-cache-dir --disable-pip-version-check \
  --constraint "$1/requirements.lock" "$1[joblib]"
