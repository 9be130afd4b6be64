"""Where a plugin listens, read from the environment: the variables of the Rust kit.

| variable | default | meaning |
|---|---|---|
| `PLUGIN_TLS_DIR` | `/etc/plugin-tls` | directory of `ca.crt`, `tls.crt` and `tls.key` |
| `PLUGIN_PORT` | 8443 | port of HTTPS |
| `PLUGIN_SOCKET` | | serve on this Unix socket instead: a sidecar of the controller |
| `PLUGIN_INSECURE_PORT` | | serve plain HTTP on 127.0.0.1 instead: development |
| `PLUGIN_HEALTH_PORT` | 8080 with HTTPS, else none | plain HTTP for probes and metrics; 0: none |
| `PLUGIN_HMAC_FILE` | | require signatures with the secret in this file (`auth.hmac`) |
| `PLUGIN_TOKEN_AUDIENCE` | | require ServiceAccount tokens for this audience: the URL of the endpoint |
| `PLUGIN_TOKEN_JWKS` | the API server's | file or https address of the cluster's public keys |
| `PLUGIN_TOKEN_JWKS_CA` | the pod's own ServiceAccount volume | authorities that are trusted at this address |
| `PLUGIN_TOKEN_ISSUER` | any | require tokens of this issuer |
| `PLUGIN_TOKEN_SUBJECT` | `system:serviceaccount:dask-operator:dask-operator` | the controller's ServiceAccount |
| `LOG_FORMAT` | `text` | `text` or `json` |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .credentials import CONTROLLER, JWKS, Credentials, SignatureVerifier, TokenVerifier


class ConfigError(Exception):
    """What is wrong with the environment, in one sentence."""


@dataclass(frozen=True)
class Config:
    """What the environment says. One of `socket`, `insecure_port` and `tls_dir` is where calls arrive."""

    tls_dir: Path | None = None
    port: int = 8443
    socket: Path | None = None
    insecure_port: int | None = None
    health_port: int | None = None
    credentials: Credentials = field(default_factory=Credentials)
    json_log: bool = False

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Config:
        """Reads `environ`. Raises `ConfigError`."""
        # A manifest that sets a variable to nothing means that it is not set.
        env = {name: value for name, value in environ.items() if value}
        socket, insecure = env.get("PLUGIN_SOCKET"), _port(env, "PLUGIN_INSECURE_PORT")
        if socket is not None and insecure is not None:
            raise ConfigError("PLUGIN_SOCKET and PLUGIN_INSECURE_PORT are both set; unset one")
        tls = socket is None and insecure is None
        health = _port(env, "PLUGIN_HEALTH_PORT")
        log_format = env.get("LOG_FORMAT", "text")
        if log_format not in ("text", "json"):
            raise ConfigError(f'LOG_FORMAT is "{log_format}", which is not text or json')
        return cls(
            tls_dir=Path(env.get("PLUGIN_TLS_DIR", "/etc/plugin-tls")) if tls else None,
            port=_port(env, "PLUGIN_PORT") or 8443,
            socket=None if socket is None else Path(socket),
            insecure_port=insecure,
            # Sidecars share one network namespace: a default port would collide with the neighbour's.
            health_port=(8080 if tls else None) if health is None else (health or None),
            credentials=_credentials(env),
            json_log=log_format == "json",
        )


def _port(env: Mapping[str, str], variable: str) -> int | None:
    value = env.get(variable)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and int(value) <= 65535):
        raise ConfigError(f'{variable} is "{value}", which is not a port number')
    return int(value)


def _credentials(env: Mapping[str, str]) -> Credentials:
    secret = env.get("PLUGIN_HMAC_FILE")
    signature = None if secret is None else SignatureVerifier(Path(secret))
    audience = env.get("PLUGIN_TOKEN_AUDIENCE")
    if audience is None:
        # Half a configuration must not mean that everybody is let in.
        for variable in ("JWKS", "JWKS_CA", "ISSUER", "SUBJECT"):
            if f"PLUGIN_TOKEN_{variable}" in env:
                message = f"PLUGIN_TOKEN_{variable} is set, but PLUGIN_TOKEN_AUDIENCE is not; set both or none"
                raise ConfigError(message)
        return Credentials(signature=signature)
    keys = env.get("PLUGIN_TOKEN_JWKS", JWKS)
    if not keys.startswith(("/", "https://")):
        expected = "the path of a file or an https address"
        raise ConfigError(f'PLUGIN_TOKEN_JWKS is "{keys}", which is not {expected}')
    authorities = env.get("PLUGIN_TOKEN_JWKS_CA")
    token = TokenVerifier(
        audience,
        keys,
        None if authorities is None else Path(authorities),
        env.get("PLUGIN_TOKEN_ISSUER"),
        env.get("PLUGIN_TOKEN_SUBJECT", CONTROLLER),
    )
    return Credentials(token, signature)
