"""TLS between clients and proxies: a certificate, and what both proxies are told of it."""

import ssl
import subprocess

import contenders

ECDSA = "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"


def settings(folder, *key, only_13=False):
    """pgweir's table and PgBouncer's lines, for a certificate with a key of such a kind."""
    cert, secret = certificate(folder, key)
    table = f'[tls]\nmode = "require"\ncert = "{cert}"\nkey = "{secret}"\n'
    lines = ["client_tls_sslmode = require", f"client_tls_cert_file = {cert}", f"client_tls_key_file = {secret}"]
    # Who comes with 1.3 alone gets that from pgweir.
    return table, [*lines, *(["client_tls_protocols = tlsv1.3"] if only_13 else [])]


def certificate(folder, key):
    """A certificate for both proxies, and its key."""
    cert, secret = folder / "proxy.crt", folder / "proxy.key"
    command = ["openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-newkey", *key]
    command += ["-subj", "/CN=127.0.0.1", "-out", cert, "-keyout", secret]
    subprocess.run(command, check=True, capture_output=True)
    for path in (cert, secret):
        contenders.write(path, path.read_text())
    return cert, secret


def only_13():
    """For clients that encrypt and, as libpq's `require`, do not check who answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


# The same for libpq.
ENVIRONMENT = {"PGSSLMODE": "require", "PGSSLMINPROTOCOLVERSION": "TLSv1.3"}
