"""The credentials of callers besides the client certificate of the controller, and how they are verified."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

import jwt
from standardwebhooks import Webhook, WebhookVerificationError

CONTROLLER = "system:serviceaccount:dask-operator:dask-operator"
JWKS = "https://kubernetes.default.svc/openid/v1/jwks"
ALGORITHMS = ("ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA")
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# The seconds after which keys are read again, because they may have been withdrawn.
_MAX_AGE = 600.0
# The minimum seconds between two reads. An unknown key may be new, and unreadable keys may have become readable. But a
# read at each call would let any caller with an invented key cause reads.
_MIN_INTERVAL = 10.0


class Unauthorized(Exception):
    """The credentials of the caller are missing or invalid."""


class CannotVerify(Exception):
    """The credentials of the caller cannot be verified now."""


@dataclass(frozen=True)
class SignatureVerifier:
    """Verifies signatures as defined by Standard Webhooks (`auth.hmac`).

    The secret is `whsec_` and base64, or base64, or otherwise the key itself, as in the controller. It is read at each
    call, so that a new one in a mounted Secret takes effect immediately.
    """

    secret: Path

    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Raises `Unauthorized` or `CannotVerify`."""
        if "webhook-signature" not in headers:
            raise Unauthorized("the request has no signature")
        webhook = self._webhook()
        try:
            webhook.verify(body, dict(headers), json_parse=False)
        except WebhookVerificationError as error:
            raise Unauthorized(f"the signature is invalid: {error}") from error
        except ValueError as error:
            # The library cannot parse a header, or the body is not text.
            raise Unauthorized("the signature is invalid: it does not conform to Standard Webhooks") from error

    def _webhook(self) -> Any:
        try:
            secret = self.secret.read_bytes()
        except OSError as error:
            raise CannotVerify(f"the secret in {self.secret} is unreadable: {error.strerror}") from error
        text = secret.decode("utf-8", "replace").strip()
        if text in ("", "whsec_"):
            raise CannotVerify(f"the secret in {self.secret} is empty")
        try:
            return Webhook(base64.b64decode(text.removeprefix("whsec_"), validate=True))
        except ValueError as error:
            if text.startswith("whsec_"):
                message = f"the secret in {self.secret} starts with whsec_, but no base64 follows"
                raise CannotVerify(message) from error
            return Webhook(secret)


@dataclass
class TokenVerifier:
    """Verifies the ServiceAccount token of the controller (`auth.serviceAccountToken`).

    The token must be valid now, for this plugin (`audience`: the URL of its endpoint, such as
    `https://mine.dask-operator.svc:443`) and from the controller (`subject`).
    """

    audience: str
    keys: str = JWKS
    """Path of a file or https URL of the public keys of the cluster."""
    authorities: Path | None = None
    """PEM file with the CA certificates for this URL. Without it, the ServiceAccount volume of the pod is used."""
    issuer: str | None = None
    subject: str = CONTROLLER
    _cached: tuple[float, jwt.PyJWKSet] | None = field(default=None, repr=False)
    _last_read: tuple[float, CannotVerify | None] | None = field(default=None, repr=False)
    _reading: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def verify(self, headers: Mapping[str, str]) -> None:
        """Raises `Unauthorized` or `CannotVerify`."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized("the request has no bearer token")
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                raise Unauthorized(
                    f"the token is signed with the algorithm {header.get('alg')}, which is not accepted"
                )
            key = self._find(header.get("kid"))
            jwt.decode(
                token,
                key,
                algorithms=[header["alg"]],
                audience=self.audience,
                issuer=self.issuer,
                subject=self.subject,
                options={"require": ["exp", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise Unauthorized(f"the token is invalid: {error}") from error

    def _find(self, identifier: str | None) -> jwt.PyJWK:
        if (key := self._lookup(identifier)) is not None:
            return key
        # Once there are keys, no thread waits for a caller that may have invented a key.
        if not self._reading.acquire(blocking=self._cached is None):
            raise CannotVerify("the public keys of the cluster are being read")
        try:
            # Another thread may have read the keys in the meantime.
            if (key := self._lookup(identifier)) is not None:
                return key
            key = _find(self._refresh(), identifier)
        finally:
            self._reading.release()
        if key is None:
            raise _unknown()
        return key

    def _refresh(self) -> jwt.PyJWKSet:
        try:
            keys = self._read()
        except CannotVerify as error:
            self._last_read = (time.monotonic(), error)
            raise
        now = time.monotonic()
        self._cached, self._last_read = (now, keys), (now, None)
        return keys

    def _lookup(self, identifier: str | None) -> jwt.PyJWK | None:
        """Looks the key up without reading the keys. Returns `None` if they have to be read."""
        now, cached, last_read = time.monotonic(), self._cached, self._last_read
        if cached is not None and now - cached[0] < _MAX_AGE:
            key = _find(cached[1], identifier)
            if key is not None:
                return key
        if last_read is None or now - last_read[0] >= _MIN_INTERVAL:
            return None
        if last_read[1] is not None:
            raise CannotVerify(str(last_read[1]))
        raise _unknown()

    def _read(self) -> jwt.PyJWKSet:
        try:
            text = self._fetch() if self.keys.startswith("https://") else Path(self.keys).read_bytes()
            return jwt.PyJWKSet.from_dict(json.loads(text))
        except (OSError, HTTPException, ValueError, TypeError, AttributeError, jwt.PyJWTError) as error:
            # Some of these are raised because the library does not check that the JSON is a key set.
            raise CannotVerify(f"failed to read the public keys of the cluster: {error}") from error

    def _fetch(self) -> bytes:
        request = urllib.request.Request(self.keys)
        authorities = self.authorities
        if authorities is None:
            authorities = _SERVICE_ACCOUNT / "ca.crt"
            token = (_SERVICE_ACCOUNT / "token").read_text().strip()
            request.add_header("authorization", f"Bearer {token}")
        context = ssl.create_default_context(cafile=str(authorities))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect()
        )
        with opener.open(request, timeout=5) as answer:
            body: bytes = answer.read(1 << 20)
            return body


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _unknown() -> Unauthorized:
    return Unauthorized("the token is signed with a key that is not a key of the cluster")


def _find(keys: jwt.PyJWKSet, identifier: str | None) -> jwt.PyJWK | None:
    if identifier is None:
        return keys.keys[0] if len(keys.keys) == 1 else None
    return next((key for key in keys.keys if key.key_id == identifier), None)


@dataclass(frozen=True)
class Credentials:
    """The credentials that a plugin requires from callers. All that are set are required."""

    token: TokenVerifier | None = None
    signature: SignatureVerifier | None = None

    async def verify_token(self, headers: Mapping[str, str]) -> None:
        """Raises `Unauthorized` or `CannotVerify`. The names of `headers` are in lower case."""
        if self.token is not None:
            await asyncio.to_thread(self.token.verify, headers)

    async def verify_signature(self, headers: Mapping[str, str], body: bytes) -> None:
        """Raises `Unauthorized` or `CannotVerify`. The names of `headers` are in lower case."""
        if self.signature is not None:
            await asyncio.to_thread(self.signature.verify, headers, body)
