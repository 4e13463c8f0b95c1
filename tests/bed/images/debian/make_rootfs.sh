#!/bin/sh
# make_rootfs.sh SUITE MIRROR: writes a minimal Debian as a tar stream to standard output. Needs root.
# Plain sh and no helper files, for it is part of the image's recipe.
set -eu
umask 022
suite=$1
mirror=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror" >"$work/log" 2>&1 || {
    tail -n 20 "$work/log" >&2
    echo "debootstrap of $suite from $mirror failed: check the network, and that debian-archive-keyring knows $suite" >&2
    exit 1
}

cat >"$root/etc/apt/sources.list.d/debian.sources" <<END
Types: deb
URIs: $mirror
Suites: $suite $suite-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: $mirror-security
Suites: $suite-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
: >"$root/etc/apt/sources.list"

# As in the official slim image: packages start no services while an image is built, and bring no manuals.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
cat >"$root/etc/dpkg/dpkg.cfg.d/slim" <<'END'
path-exclude /usr/share/doc/*
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-include /usr/share/doc/*/copyright
END
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/usr/share/man/* "$root"/usr/share/info/* \
    "$root"/usr/share/locale/* "$root"/etc/resolv.conf "$root"/etc/hostname "$root"/var/log/*.log
find "$root/usr/share/doc" -type f ! -name copyright -delete

tar --directory "$root" --numeric-owner --exclude './dev/*' --exclude './proc/*' --exclude './sys/*' --create .
