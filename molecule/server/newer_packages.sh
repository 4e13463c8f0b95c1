#!/usr/bin/env bash
# A repository on the server that says of itself it has security fixes: of two packages that are installed, one goes by as Docker's.
set -euo pipefail
mkdir -p /srv/newer
cd /srv/newer

package() { # NAME VERSION
    local folder
    folder=$(mktemp -d)
    chmod 755 "$folder"
    mkdir "$folder/DEBIAN"
    printf '%s\n' "Package: $1" "Version: $2" "Architecture: all" "Maintainer: Tests <tests@example.org>" "Description: test" \
        >"$folder/DEBIAN/control"
    dpkg-deb --build "$folder" "$1_$2.deb" >/dev/null
    cat "$folder/DEBIAN/control"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$1_$2.deb" "$(stat -c %s "$1_$2.deb")" "$(sha256sum "$1_$2.deb" | cut -d ' ' -f 1)"
}

{ package docker-probe 1 && package residency-probe 1; } >/dev/null
dpkg --install docker-probe_1.deb residency-probe_1.deb >/dev/null
{ package docker-probe 2 && package residency-probe 2; } >Packages
# shellcheck source=/dev/null
. /etc/os-release
printf '%s\n' "Origin: Debian" "Label: Debian-Security" "Codename: $VERSION_CODENAME-security" "SHA256:" \
    " $(sha256sum Packages | cut -d ' ' -f 1) $(stat -c %s Packages) Packages" >Release
echo 'deb [trusted=yes] file:/srv/newer ./' >/etc/apt/sources.list.d/newer.list
apt-get --quiet update
