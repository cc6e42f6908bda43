"""A Redis that speaks TLS only, certificates of an authority made for the test, and users by ACL."""

from __future__ import annotations

import ipaddress
import secrets
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.processes import Child, free_port, wait_for

DAY = timedelta(days=1)


class Authority:
    """Signs certificates for this machine. The embedded Valkey is built without TLS, so these are for a real Redis."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.certificate_file = folder / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(f"tests {secrets.token_hex(4)}")
        made = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        self.certificate_file.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))

    def issue(self, name: str, *, host: str = "127.0.0.1") -> tuple[Path, Path]:
        """A certificate made out to an address, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        made = self._builder(_name(name), key).add_extension(alternative, False).sign(self._key, hashes.SHA256())
        certificate_file, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate_file.write_bytes(_pem(made))
        key_file.touch(mode=0o600)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate_file, key_file

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
        )


class TlsRedis(Child):
    """Its ``url`` has the user and no TLS options; ``administer()`` connects as the user that may do everything."""

    def __init__(
        self, folder: Path, authority: Authority, *, users: str = "", host: str = "127.0.0.1", ask: bool = True
    ) -> None:
        folder.mkdir(parents=True)
        self.port = free_port()
        self.authority = authority
        self.password, self._admin_password = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
        self.url = f"rediss://mcube:{self.password}@127.0.0.1:{self.port}/0"
        self.certificate_file, self.key_file = authority.issue("server", host=host)
        self.client_certificate_file, self.client_key_file = authority.issue("client")
        line = users.replace("PASSWORD", self.password)
        (folder / "users.acl").write_text(
            f"{line}\nuser default off\nuser admin on >{self._admin_password} ~* &* +@all\n"
        )
        configuration = folder / "redis.conf"
        configuration.write_text(
            f'bind 127.0.0.1\nport 0\ntls-port {self.port}\ndir "{folder}"\nappendonly yes\nsave ""\n'
            f'tls-cert-file "{self.certificate_file}"\ntls-key-file "{self.key_file}"\n'
            f'tls-ca-cert-file "{authority.certificate_file}"\ntls-auth-clients {"yes" if ask else "no"}\n'
            f'aclfile "{folder / "users.acl"}"\n'
        )
        super().__init__("redis", ["redis-server", str(configuration)], log=folder / "redis.log")

    @property
    def environment_for_mcube(self) -> dict[str, str]:
        return {
            "MCUBE_REDIS_URL": self.url,
            "MCUBE_REDIS_CA_FILE": str(self.authority.certificate_file),
            "MCUBE_REDIS_CERTIFICATE_FILE": str(self.client_certificate_file),
            "MCUBE_REDIS_KEY_FILE": str(self.client_key_file),
        }

    def start(self) -> None:
        super().start()
        wait_for(self.answers, "the Redis with TLS to answer", seconds=10)

    def answers(self) -> bool:
        try:
            with self.administer() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def administer(self) -> redis.Redis:
        return redis.Redis(
            port=self.port,
            username="admin",
            password=self._admin_password,
            decode_responses=True,
            ssl=True,
            ssl_ca_certs=str(self.authority.certificate_file),
            ssl_certfile=str(self.client_certificate_file),
            ssl_keyfile=str(self.client_key_file),
            ssl_check_hostname=False,
        )


def is_available() -> bool:
    """Whether this machine has a redis-server with TLS."""
    path = shutil.which("redis-server")
    if path is None:
        return False
    said = subprocess.run(
        [path, "--port", "0", "--tls-port", str(free_port())], capture_output=True, text=True, check=False, timeout=10
    )
    # Built with TLS, it misses its certificate.
    return "tls-cert-file" in said.stdout


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
