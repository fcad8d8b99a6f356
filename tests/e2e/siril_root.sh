#!/bin/bash
# A real Siril in a Debian root of its own, for the end-to-end tests.
#
#   siril_root.sh make ROOT              build ROOT, unless it is there (about 3 minutes, 1.4 GB)
#   siril_root.sh run ROOT WORK CMD...   run CMD in ROOT; WORK has the same path inside, and is the
#                                        home; the host's files are seen under /host
#
# "make" ends with code 77 and a reason where a root cannot be built on this machine.
# SIRIL_SUITES names the Debian suites that are tried, SIRIL_MIRROR the Debian mirror.
set -euo pipefail

skip() { echo "no Siril root: $*" >&2; exit 77; }

packages=siril,ca-certificates,xvfb,xauth,xdotool,fonts-dejavu-core,adwaita-icon-theme
packages+=,python3,python3-venv,python3-pip,python3-setuptools,python3-packaging,python3-requests
packages+=,python3-numpy,python3-scipy,python3-astropy,python3-pyqt6
# What the package needs, but for torch, to run in Siril's own Python.
packages+=,python3-ccdproc,python3-photutils,python3-reproject,python3-safetensors,python3-sep
packages+=,python3-threadpoolctl,python3-tifffile,python3-tqdm

make_root() {
    local root=$1
    [ "$(uname -s)" = Linux ] || skip "this is not Linux"
    [ "$(id -u)" = 0 ] || skip "only root can build and enter one (you are $(id -un))"
    command -v unshare chroot >/dev/null || skip "unshare and chroot are missing"
    unshare -m true 2>/dev/null || skip "this machine does not allow mount namespaces"
    [ "$(cat "$root/.complete" 2>/dev/null)" = "$packages" ] && return
    if ! command -v mmdebstrap >/dev/null; then
        command -v apt-get >/dev/null || skip "mmdebstrap is missing and there is no apt-get"
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends mmdebstrap; } \
            >/dev/null 2>&1 || skip "mmdebstrap is missing and could not be installed"
    fi
    local mirror=${SIRIL_MIRROR:-$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' \
        /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -1)}
    mirror=${mirror:-http://deb.debian.org/debian}
    mkdir -p "$(dirname "$root")"
    local suite part="$root.part.$$"
    for suite in ${SIRIL_SUITES:-forky sid}; do
        echo "Building a root with Siril from Debian $suite ($mirror) in $root ..."
        rm -rf "$part"
        if mmdebstrap --mode=root --variant=minbase --include="$packages" \
            --aptopt='APT::Install-Recommends "false"' \
            --aptopt='Acquire::Check-Valid-Until "false"' \
            --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' \
            --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
            --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='force-unsafe-io' \
            "$suite" "$part" "$mirror" >"$root.log" 2>&1 && finish "$part" "$root.log"; then
            rm -rf "$root"
            mv "$part" "$root"
            return
        fi
        echo "Debian $suite gave none: $(tail -1 "$root.log")"
    done
    rm -rf "$part"
    skip "neither of the suites '${SIRIL_SUITES:-forky sid}' could be installed from $mirror"
}

# Siril makes a Python environment at its first start, from the network. This makes it beforehand.
finish() {
    local root=$1 log=$2
    chroot "$root" siril-cli --version 2>>"$log" | grep -Eq '1\.([4-9]|[1-9][0-9])\.' || {
        echo "it is too old: $(chroot "$root" siril-cli --version)" >>"$log"; return 1; }
    chroot "$root" bash -ec '
        python3 -m venv --system-site-packages /opt/siril/venv
        cp -r /usr/share/siril/python_module /opt/siril/.python_module
        cp -r /usr/share/siril/python_module /tmp/python_module
        /opt/siril/venv/bin/pip install -q --no-index --no-deps --no-build-isolation \
            /tmp/python_module' >>"$log" 2>&1 || return 1
    mkdir -p "$root/host"
    echo "$packages" >"$root/.complete"
}

run_in_root() {
    local root=$1 work=$2
    shift 2
    # shellcheck disable=SC2016
    exec unshare -m --propagation private bash -ec '
        root=$1 work=$2
        shift 2
        mkdir -p "$root$work" "$work/.local/share"
        if [ ! -e "$work/.local/share/siril" ]; then
            cp -r "$root/opt/siril" "$work/.local/share/siril.part"
            sed -i "s|/opt/siril/|$work/.local/share/siril/|g" \
                "$work"/.local/share/siril.part/venv/bin/{activate,pip*} \
                "$work"/.local/share/siril.part/venv/pyvenv.cfg
            mv "$work/.local/share/siril.part" "$work/.local/share/siril"
        fi
        mount --rbind / "$root/host"
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/tmp"
        mkdir -p "$root$work"
        mount --bind "$work" "$root$work"
        exec chroot "$root" /usr/bin/env -i HOME="$work" LC_ALL=C.UTF-8 TMPDIR="$work" \
            PATH=/usr/bin:/bin:/usr/sbin:/sbin sh -c "cd \"\$1\"; shift; exec \"\$@\"" sh "$work" "$@"' \
        siril_root "$root" "$work" "$@"
}

case ${1:-} in
    make) make_root "$(realpath -m "$2")" ;;
    run) shift; run_in_root "$(realpath "$1")" "$(realpath "$2")" "${@:3}" ;;
    *) sed -n '2,10s/^# \?//p' "$0"; exit 2 ;;
esac
