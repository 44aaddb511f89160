"""Hostile clients over HTTP/1.1 in TLS: the cases that depend on how bytes arrive, which another layer cuts anew."""

import datetime
import pathlib
import ssl
import tempfile
import unittest

import case as words
import client
import stage
import suite
from cases import chunks
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from recording import Recorder, Upstream

# A TLS connection cannot be closed by half.
CASES = [
    case for case in chunks.CASES
    if words.HALF_CLOSE not in case.sends and not case.name.endswith("to chat")
]  # fmt: skip


def make_certificate(folder):
    """Writes cert.pem, for localhost, and its key.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, pkcs8, plain))


CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CONTEXT.check_hostname, CONTEXT.verify_mode = False, ssl.CERT_NONE


def connect(port):
    return CONTEXT.wrap_socket(client.connect(port), server_hostname="localhost")


def run():
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder, Upstream(recorder) as upstream:
        make_certificate(pathlib.Path(folder))
        with stage.gateway(upstream.port, tls=folder) as gateway:

            def play(case):
                faults = client.run(case, gateway.port, recorder, connect)
                return faults + client.next_is_served(case, gateway.port, connect=connect)

            return suite.played(suite.chosen(CASES), play, recorder)


class HostileClientsInTls(suite.Suite):
    pass


suite.add_tests(HostileClientsInTls, CASES, run)

if __name__ == "__main__":
    unittest.main()
