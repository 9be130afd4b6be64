"""Who may call: what the controller shows besides its client certificate, and how it is verified."""

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
# Keys may be withdrawn, an unknown key may be new, and keys that could not be read may be there again. But anybody can
# make keys up and call.
_LIFE, _PATIENCE = 600.0, 10.0


class Unauthorized(Exception):
    """The caller shows nothing, or something that is not good."""


class CannotVerify(Exception):
    """What the caller shows cannot be judged now."""


@dataclass(frozen=True)
class SignatureVerifier:
    """Verifies signatures as Standard Webhooks defines them: those of `auth.hmac`.

    The secret is read at each call, so that a new one in a mounted Secret counts at once. It is `whsec_…`, base64, or
    else the key itself, as for the controller.
    """

    secret: Path

    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Raises `Unauthorized` or `CannotVerify`."""
        if "webhook-signature" not in headers:
            raise Unauthorized("the call has no signature")
        webhook = self._webhook()
        try:
            webhook.verify(body, dict(headers), json_parse=False)
        except WebhookVerificationError as error:
            raise Unauthorized(f"the call's signature is not good: {error}") from error
        except ValueError as error:
            # A header that the library cannot take apart, or a body that is no text.
            raise Unauthorized(
                "the call's signature is not good: it is not as Standard Webhooks defines it"
            ) from error

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
                message = f"the secret in {self.secret} begins with whsec_, and base64 must follow"
                raise CannotVerify(message) from error
            return Webhook(secret)


@dataclass
class TokenVerifier:
    """Verifies the ServiceAccount token that the controller shows (`auth.serviceAccountToken`).

    It must be in force, for this plugin (`audience`: the URL of its endpoint, such as
    `https://mine.dask-operator.svc:443`) and from the controller (`subject`).
    """

    audience: str
    keys: str = JWKS
    """Path of a file or https address of the cluster's public keys."""
    authorities: Path | None = None
    """PEM file of those trusted at that address; else the pod's own ServiceAccount volume is used."""
    issuer: str | None = None
    subject: str = CONTROLLER
    _held: tuple[float, jwt.PyJWKSet] | None = field(default=None, repr=False)
    _tried: tuple[float, CannotVerify | None] | None = field(default=None, repr=False)
    _reading: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def verify(self, headers: Mapping[str, str]) -> None:
        """Raises `Unauthorized` or `CannotVerify`."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized("the call has no bearer token")
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                raise Unauthorized(f"the call's token is signed by {header.get('alg')}")
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
            raise Unauthorized(f"the call's token is refused: {error}") from error

    def _find(self, identifier: str | None) -> jwt.PyJWK:
        if (key := self._answer(identifier)) is not None:
            return key
        # Once there are keys, no thread is kept waiting for who may have made up a key.
        if not self._reading.acquire(blocking=self._held is None):
            raise CannotVerify("the cluster's public keys are being read")
        try:
            # Another thread may have read the keys in the meantime.
            if (key := self._answer(identifier)) is not None:
                return key
            key = _find(self._renewed(), identifier)
        finally:
            self._reading.release()
        if key is None:
            raise _unknown()
        return key

    def _renewed(self) -> jwt.PyJWKSet:
        try:
            keys = self._read()
        except CannotVerify as error:
            self._tried = (time.monotonic(), error)
            raise
        now = time.monotonic()
        self._held, self._tried = (now, keys), (now, None)
        return keys

    def _answer(self, identifier: str | None) -> jwt.PyJWK | None:
        """What can be said without reading the keys; `None` if they have to be read."""
        now, held, tried = time.monotonic(), self._held, self._tried
        if held is not None and now - held[0] < _LIFE:
            key = _find(held[1], identifier)
            if key is not None:
                return key
        if tried is None or now - tried[0] >= _PATIENCE:
            return None
        if tried[1] is not None:
            raise CannotVerify(str(tried[1]))
        raise _unknown()

    def _read(self) -> jwt.PyJWKSet:
        try:
            text = self._fetch() if self.keys.startswith("https://") else Path(self.keys).read_bytes()
            return jwt.PyJWKSet.from_dict(json.loads(text))
        except (OSError, HTTPException, ValueError, TypeError, AttributeError, jwt.PyJWTError) as error:
            # The library takes it that the JSON is a key set.
            raise CannotVerify(f"the cluster's public keys cannot be read: {error}") from error

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
    return Unauthorized("the call's token is signed with a key that is not the cluster's")


def _find(keys: jwt.PyJWKSet, identifier: str | None) -> jwt.PyJWK | None:
    if identifier is None:
        return keys.keys[0] if len(keys.keys) == 1 else None
    return next((key for key in keys.keys if key.key_id == identifier), None)


@dataclass(frozen=True)
class Credentials:
    """What a caller must show; each one that is configured is required."""

    token: TokenVerifier | None = None
    signature: SignatureVerifier | None = None

    async def verify_token(self, headers: Mapping[str, str]) -> None:
        """Raises `Unauthorized` or `CannotVerify`. `headers` have names in lower case."""
        if self.token is not None:
            await asyncio.to_thread(self.token.verify, headers)

    async def verify_signature(self, headers: Mapping[str, str], body: bytes) -> None:
        """Raises `Unauthorized` or `CannotVerify`. `headers` have names in lower case."""
        if self.signature is not None:
            await asyncio.to_thread(self.signature.verify, headers, body)
