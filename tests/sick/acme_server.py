"""An ACME server with an authority of its own: `acme_server.py FOLDER ADDRESS PORT NAME=ADDRESS ...`.

acme2certifier does all of it, the validation of challenges too. Only the DNS is replaced, by the names and addresses that are given.
FOLDER gets ca.pem, the authority's certificate, which also signed the one of the server itself.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from wsgiref.simple_server import make_server

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign")
USAGES += ("crl_sign", "encipher_only", "decipher_only")
CONFIG = """
[CAhandler]
handler_module: acme2certifier.cahandlers.openssl_ca_handler
issuing_ca_key: {folder}/ca.key
issuing_ca_cert: {folder}/ca.pem
issuing_ca_crl: {folder}/ca.crl
cert_save_path: {folder}/certificates
cert_validity_days: 90
cn_enforce: True

[DBhandler]
handler: wsgi
dbfile: {folder}/acme.db
"""


def write_authority(folder: Path, address: str) -> None:
    """Write an authority, and the server's own certificate that it signed."""
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer, subject = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("Test authority", address))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    now = datetime.now(UTC)

    def sign(name: x509.Name, key: ec.EllipticCurvePrivateKey, extensions: dict[Any, bool]) -> bytes:
        builder = x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=30))
        identifiers = {x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()): False}
        identifiers[x509.SubjectKeyIdentifier.from_public_key(key.public_key())] = False
        for extension, critical in {**extensions, **identifiers}.items():
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    # As RFC 5280 demands; Python 3.13 trusts no other authority.
    usage = {**dict.fromkeys(USAGES, False), "key_cert_sign": True, "crl_sign": True}
    authoritative = {x509.BasicConstraints(ca=True, path_length=None): True, x509.KeyUsage(**usage): True}
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "ca.key").write_bytes(authority.private_bytes(*form))
    (folder / "ca.pem").write_bytes(sign(issuer, authority, authoritative))
    (folder / "own.pem").write_bytes(sign(subject, own, {names: False}) + own.private_bytes(*form))


def serve(folder: Path, address: str, port: int, names: dict[str, str]) -> None:
    """Serve until the end of the process."""
    (folder / "certificates").mkdir(exist_ok=True)
    if not (folder / "ca.pem").exists():
        write_authority(folder, address)
    (folder / "acme_srv.cfg").write_text(CONFIG.format(folder=folder), encoding="utf-8")
    # Read when the application is imported.
    os.environ["ACME_SRV_CONFIGFILE"] = str(folder / "acme_srv.cfg")
    from acme2certifier.acme_srv import helper
    from acme2certifier.dbhandlers.wsgi_handler import DBstore
    from acme2certifier.share import acme2certifier_wsgi

    def resolve(_logger: Any, host: str, *_words: Any, **_options: Any) -> tuple[Sequence[str], bool, str | None]:
        return ([names[host]], False, None) if host in names else ([], True, f"no such name: {host}")

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        # The addresses in its answers have to be as its clients know it.
        return acme2certifier_wsgi.application({**environ, "HTTP_X_FORWARDED_PROTO": "https"}, start_response)

    update = DBstore.challenge_update

    def challenge_update(store: DBstore, values: dict[str, Any]) -> None:
        # The original forgets the reason, so that no client would be told.
        update(store, values)
        store._db_open()
        store.cursor.execute("UPDATE challenge SET validation_error = ? WHERE name = ?", (values.get("validation_error"), values["name"]))
        store._db_close()

    DBstore.challenge_update = challenge_update
    helper.fqdn_resolve = resolve
    server = make_server(address, port, application, handler_class=acme2certifier_wsgi.get_handler_cls())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "own.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), dict(word.split("=") for word in sys.argv[4:]))
