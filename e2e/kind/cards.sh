#!/usr/bin/env bash
# Runs inside a node that has the mount /var/run/nvidia-container-devices/all: sets up NVIDIA's container toolkit, so that
# the node's containerd gives cards to pods. `./x kind up --gpus all` runs it in every worker. It needs the internet.
set -euo pipefail
command -v nvidia-smi >/dev/null || {
  echo "the host's NVIDIA runtime put no driver into this node: docker run --rm -v /dev/null:/var/run/nvidia-container-devices/all IMAGE nvidia-smi -L shows the same" >&2
  exit 1
}
nvidia-smi --list-gpus
if ! command -v nvidia-ctk >/dev/null; then
  apt-get update --quiet
  apt-get install --quiet --yes --no-install-recommends ca-certificates curl gnupg
  key=/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg
  site=https://nvidia.github.io/libnvidia-container
  curl --fail --silent --show-error --location "$site/gpgkey" | gpg --dearmor --yes --output "$key"
  curl --fail --silent --show-error --location "$site/stable/deb/nvidia-container-toolkit.list" |
    sed "s#deb https://#deb [signed-by=$key] https://#" > /etc/apt/sources.list.d/nvidia-container-toolkit.list
  apt-get update --quiet
  apt-get install --quiet --yes --no-install-recommends nvidia-container-toolkit
fi
nvidia-ctk runtime configure --runtime=containerd --set-as-default
systemctl restart containerd
# The toolkit masks it in the node, which is a container itself, and pods of the node could not be given theirs.
if mountpoint --quiet /proc/driver/nvidia; then
  umount --recursive /proc/driver/nvidia
fi
