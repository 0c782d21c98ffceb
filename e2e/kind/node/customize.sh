#!/usr/bin/env bash
# Makes a node of kind's out of Debian's packages: what kind's images/base does, with the files of kind's own Go module.
# mmdebstrap runs it on ROOT before it packs the archive; ./x kind says what it reads:
#   KIND_BASE   images/base of kind's Go module
#   KUBERNETES  every Kubernetes program in one, which becomes the one that it is started as
#   KUBE_ROUTER the program that enforces NetworkPolicies
#   PAUSE       the first process of a pod
#   VERSION     of Kubernetes, as in v1.35.4
#   NETWORK     manifest of the nodes' network
set -euo pipefail
root=$1
files=$KIND_BASE/files

# What kind's Dockerfile copies, and what it takes away.
install -d "$root"/kind/{bin,manifests,images} "$root"/etc/kubernetes/manifests "$root"/etc/containerd "$root"/opt/cni \
  "$root"/etc/systemd/system/{kubelet,containerd}.service.d
install -m 755 "$files"/usr/local/bin/entrypoint "$root"/usr/local/bin/
install -m 755 "$files"/kind/bin/* "$root"/kind/bin/
install -m 644 "$files"/etc/containerd/config.toml "$root"/etc/containerd/
install -m 644 "$files"/etc/crictl.yaml "$root"/etc/
install -m 644 "$files"/etc/default/kubelet "$root"/etc/default/
install -m 644 "$files"/etc/sysctl.d/* "$root"/etc/sysctl.d/
install -m 644 "$files"/etc/systemd/system/*.service "$files"/etc/systemd/system/*.slice "$root"/etc/systemd/system/
install -m 644 "$files"/etc/systemd/system/kubelet.service.d/* "$root"/etc/systemd/system/kubelet.service.d/
units=$root/lib/systemd/system
rm -f "$units"/sysinit.target.wants/systemd-{tmpfiles-setup,sysctl}.service "$units"/multi-user.target.wants/* \
  "$root"/etc/systemd/system/*.wants/* "$units"/local-fs.target.wants/* "$units"/basic.target.wants/* \
  "$units"/sockets.target.wants/*{udev,initctl}*
# The archive that the packages come from has another path each time.
: > "$root"/etc/apt/sources.list
echo ReadKMsg=no >> "$root"/etc/systemd/journald.conf
ln -sf /usr/lib/systemd/systemd "$root"/sbin/init
rm -f "$units"/containerd.service # Debian's; kind's is in /etc
chroot "$root" systemctl enable kubelet.service containerd.service undo-mount-hacks.service
chroot "$root" systemctl mask systemd-binfmt.service

# Where Debian has what kind looks for.
ln -sf /usr/bin/containerd "$root"/usr/local/bin/containerd
ln -sfn /usr/lib/cni "$root"/opt/cni/bin
rm -rf "$root"/etc/cni/net.d
install -d "$root"/etc/cni/net.d

# kind's containers of pods, with no limits that somebody without CAP_SYS_RESOURCE could not raise.
sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$root"/etc/containerd/config.toml
grep -q 'restrict_oom_score_adj = true' "$root"/etc/containerd/config.toml
chroot "$root" ctr oci spec | chroot "$root" jq --sort-keys \
  '.hooks.createContainer[0] = {"path": "/kind/bin/mount-product-files.sh"} | del(.process.rlimits)' \
  > "$root"/etc/containerd/cri-base.json

# A kubelet writes these for the whole machine. It finds what it wants in files of the node's, and the machine keeps its own.
cat > "$root"/kind/bin/keep-host-settings.sh <<'S'
#!/bin/bash
set -euo pipefail
while read -r name value; do
  findmnt "/proc/sys/$name" >/dev/null && continue
  mkdir -p "/run/host-settings/${name%/*}"
  echo "$value" > "/run/host-settings/$name"
  mount --bind "/run/host-settings/$name" "/proc/sys/$name"
done <<'V'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
V
S
# The images that a node starts with: containerd's own store is no archive that is the same twice.
cat > "$root"/kind/bin/import-images.sh <<'S'
#!/bin/bash
set -euo pipefail
shopt -s nullglob
for archive in /kind/images/*.tar; do
  ctr --namespace k8s.io images import "$archive" >/dev/null
  rm "$archive"
done
S
chmod 755 "$root"/kind/bin/*.sh
printf '[Service]\nExecStartPre=/kind/bin/keep-host-settings.sh\n' > "$root"/etc/systemd/system/kubelet.service.d/12-host-settings.conf
printf '[Service]\nExecStartPost=/kind/bin/import-images.sh\n' > "$root"/etc/systemd/system/containerd.service.d/10-images.conf

# Kubernetes, once for the node and once for the static pods and kube-proxy, as one image under all their names.
install -m 755 "$KUBERNETES" "$root"/usr/bin/kubernetes
for name in kubeadm kubelet kubectl; do ln -sf kubernetes "$root"/usr/bin/$name; done
install -m 755 "$KUBE_ROUTER" "$root"/usr/bin/kube-router
echo "$VERSION" > "$root"/kind/version
install -m 644 "$NETWORK" "$root"/kind/manifests/default-cni.yaml

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
layer=$work/layer blobs=$work/image/blobs/sha256
install -d "$layer"/usr/local/bin "$layer"/run "$blobs"
install -d -m 1777 "$layer"/tmp
install -m 755 "$KUBERNETES" "$layer"/usr/local/bin/kubernetes
install -m 755 "$PAUSE" "$layer"/pause
components=(kube-apiserver kube-controller-manager kube-scheduler kube-proxy etcd)
for name in "${components[@]}"; do ln -s kubernetes "$layer"/usr/local/bin/"$name"; done
# kube-proxy calls this one, which needs its libraries.
for path in /usr/sbin/nft $(chroot "$root" ldd /usr/sbin/nft | grep -oE '/[^ ]+'); do
  install -D -m 755 "$root$(chroot "$root" readlink -f "$path")" "$layer$path"
done

archive() { tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=ustar -C "$1" -cf "$2" .; }
put() { # FILE TYPE: keeps a blob and prints its descriptor
  local digest
  digest=$(sha256sum "$1" | cut -d ' ' -f 1)
  printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%d}' "$2" "$digest" "$(stat -c %s "$1")"
  mv "$1" "$blobs/$digest"
}
archive "$layer" "$work"/layer.tar
stored=$(put "$work"/layer.tar layer.v1.tar)
digest=$(grep -oE 'sha256:[0-9a-f]+' <<< "$stored")
printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Entrypoint":["/pause"]},"rootfs":{"type":"layers","diff_ids":["%s"]}}' \
  "$digest" > "$work"/config.json
config=$(put "$work"/config.json config.v1+json)
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' \
  "$config" "$stored" > "$work"/manifest.json
manifest=$(put "$work"/manifest.json manifest.v1+json)
# kubeadm knows which etcd goes with its Kubernetes, and kind's containerd which pause is its own.
mapfile -t references < <(chroot "$root" kubeadm config images list --kubernetes-version "$VERSION" | grep -v /coredns/)
references+=("$(sed -n 's/.*sandbox_image = "\(.*\)"/\1/p' "$root"/etc/containerd/config.toml)")
entries=()
for reference in $(printf '%s\n' "${references[@]}" | sort -u); do
  entries+=("${manifest%\}},\"annotations\":{\"io.containerd.image.name\":\"$reference\"}}")
done
(IFS=,; printf '{"schemaVersion":2,"manifests":[%s]}' "${entries[*]}") > "$work"/image/index.json
printf '{"imageLayoutVersion":"1.0.0"}' > "$work"/image/oci-layout
archive "$work"/image "$root"/kind/images/kubernetes.tar
