"""The configuration of a plugin, read from the environment. The variables are those of dask-plugin-server.

| variable | default | meaning |
|---|---|---|
| `PLUGIN_TLS_DIR` | `/etc/plugin-tls` | directory with `ca.crt`, `tls.crt` and `tls.key` |
| `PLUGIN_PORT` | 8443 | HTTPS port |
| `PLUGIN_SOCKET` | | serves this Unix socket instead of HTTPS, for a sidecar of the controller |
| `PLUGIN_INSECURE_PORT` | | serves plain HTTP on 127.0.0.1 instead of HTTPS, for development |
| `PLUGIN_HEALTH_PORT` | 8080 with HTTPS, otherwise none | plain HTTP port for probes and metrics; 0 disables it |
| `PLUGIN_DRAIN_SECONDS` | 5 with HTTPS, otherwise 0 | after SIGTERM, seconds of not being ready and still serving |
| `PLUGIN_HMAC_FILE` | | requires signatures with the secret in this file (`auth.hmac`) |
| `PLUGIN_TOKEN_AUDIENCE` | | requires ServiceAccount tokens for this audience, the URL of the endpoint |
| `PLUGIN_TOKEN_JWKS` | that of the API server | file or https URL of the public keys of the cluster |
| `PLUGIN_TOKEN_JWKS_CA` | the ServiceAccount volume of the pod | PEM file with the CA certificates for this URL |
| `PLUGIN_TOKEN_ISSUER` | any | requires tokens of this issuer |
| `PLUGIN_TOKEN_SUBJECT` | `system:serviceaccount:dask-operator:dask-operator` | the controller's ServiceAccount |
| `LOG_FORMAT` | `text` | `text` or `json` |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .credentials import CONTROLLER, JWKS, Credentials, SignatureVerifier, TokenVerifier

DRAIN = 5
"""The default of `PLUGIN_DRAIN_SECONDS` for a plugin behind a Service. Nodes learn of a terminating pod within about a
second."""
LONGEST_DRAIN = 600


class ConfigError(Exception):
    """The environment is invalid. The message is one sentence."""


@dataclass(frozen=True)
class Config:
    """The configuration of a plugin. Exactly one of `socket`, `insecure_port` and `tls_dir` is set."""

    tls_dir: Path | None = None
    port: int = 8443
    socket: Path | None = None
    insecure_port: int | None = None
    health_port: int | None = None
    drain: int = 0
    """The seconds after the shutdown has started for which new calls are served. The plugin reports that it is not
    ready, so that calls go to other pods before this one stops."""
    credentials: Credentials = field(default_factory=Credentials)
    json_log: bool = False

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Config:
        """Reads `environ`. Raises `ConfigError`."""
        # An empty variable in a manifest means that it is not set.
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
            # Sidecars share a network namespace: the default ports of two sidecars would collide.
            health_port=(8080 if tls else None) if health is None else (health or None),
            # No Service sends calls to a sidecar or to a development server, so there is nothing to wait for.
            drain=_drain(env, DRAIN if tls else 0),
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


def _drain(env: Mapping[str, str], default: int) -> int:
    value = env.get("PLUGIN_DRAIN_SECONDS")
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and int(value) <= LONGEST_DRAIN):
        raise ConfigError(f'PLUGIN_DRAIN_SECONDS is "{value}", which is not a number from 0 to {LONGEST_DRAIN}')
    return int(value)


def _credentials(env: Mapping[str, str]) -> Credentials:
    secret = env.get("PLUGIN_HMAC_FILE")
    signature = None if secret is None else SignatureVerifier(Path(secret))
    audience = env.get("PLUGIN_TOKEN_AUDIENCE")
    if audience is None:
        # An incomplete configuration must not let every caller in.
        for variable in ("JWKS", "JWKS_CA", "ISSUER", "SUBJECT"):
            if f"PLUGIN_TOKEN_{variable}" in env:
                message = f"PLUGIN_TOKEN_{variable} is set, but PLUGIN_TOKEN_AUDIENCE is not; set both or none"
                raise ConfigError(message)
        return Credentials(signature=signature)
    keys = env.get("PLUGIN_TOKEN_JWKS", JWKS)
    if not keys.startswith(("/", "https://")):
        expected = "the path of a file or an https URL"
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
