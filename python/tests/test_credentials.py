import asyncio
import json
import time
from datetime import datetime, timedelta, timezone

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook

from dask_operator_plugin import Plugin
from dask_operator_plugin.asgi import Application
from dask_operator_plugin.credentials import CONTROLLER, Credentials, SignatureVerifier, TokenVerifier
from dask_operator_plugin.testing import call

AUDIENCE = "https://web.dask-operator.svc:443"
ISSUER = "https://kubernetes.default.svc.cluster.local"
SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def discover(credentials, headers):
    application = Application(Plugin("test", version="1"), credentials)
    status, body = asyncio.run(call(application, "GET", "/v1alpha1/discovery", b"", headers))
    return status, body.get("message", "")


def signature(secret, body="", age=0):
    when = datetime.now(timezone.utc) - timedelta(seconds=age)
    return {
        "Webhook-Id": "discovery",
        "Webhook-Timestamp": str(int(when.timestamp())),
        "Webhook-Signature": Webhook(secret).sign("discovery", when, body),
    }


def test_only_a_fresh_signature_over_this_body_opens_the_plugin(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    credentials = Credentials(signature=SignatureVerifier(secret))
    assert discover(credentials, signature(SECRET)) == (200, "")
    other = "whsec_AAAAsBQIhrscChlQIMV+b5sSYspob7oD"
    for headers, sentence in [
        ({}, "no signature"),
        (signature(other), "not good"),
        (signature(SECRET, body="{}"), "not good"),
        (signature(SECRET, age=400), "too old"),
    ]:
        status, message = discover(credentials, headers)
        assert status == 401
        assert sentence in message
    secret.write_text(other)
    assert discover(credentials, signature(other))[0] == 200, "a new secret counts at once"


@pytest.mark.parametrize("content", ["", "whsec_", "whsec_no base64", None])
def test_a_secret_that_is_no_secret_opens_nothing(tmp_path, content):
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_text(content)
    status, message = discover(Credentials(signature=SignatureVerifier(secret)), signature(SECRET))
    assert status == 503
    assert str(secret) in message


class Signer:
    def __init__(self, key_id):
        self.key, self.key_id = ec.generate_private_key(ec.SECP256R1()), key_id

    def public(self):
        key = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key()))
        return {**key, "kid": self.key_id, "alg": "ES256"}

    def token(self, **changes):
        now = int(time.time())
        claims = {
            "aud": [AUDIENCE],
            "iss": ISSUER,
            "sub": CONTROLLER,
            "nbf": now - 5,
            "exp": now + 600,
            **changes,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, self.key, "ES256", {"kid": self.key_id})


@pytest.fixture
def cluster():
    return Signer("a")


@pytest.fixture
def keys(tmp_path, cluster):
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [cluster.public()]}))
    return file


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_only_the_controllers_token_for_this_plugin_opens_it(cluster, keys):
    credentials = Credentials(token=TokenVerifier(AUDIENCE, str(keys), issuer=ISSUER))
    assert discover(credentials, bearer(cluster.token())) == (200, "")
    forged = Signer("a")
    secret = jwt.encode(
        {"aud": AUDIENCE, "sub": CONTROLLER}, "a secret that somebody else knows", "HS256", {"kid": "a"}
    )
    for token, sentence in [
        (cluster.token(aud="https://other.svc:443"), "udience"),
        (cluster.token(aud=None), '"aud"'),
        (cluster.token(sub="system:serviceaccount:team-a:default"), "subject"),
        (cluster.token(iss="https://elsewhere"), "ssuer"),
        (cluster.token(exp=1), "expired"),
        (cluster.token(exp=None), '"exp"'),
        (cluster.token(nbf=int(time.time()) + 600), "not yet valid"),
        (forged.token(), "ignature"),
        (Signer("b").token(), "not the cluster's"),
        (secret, "signed by HS256"),
        ("stolen", "refused"),
    ]:
        status, message = discover(credentials, bearer(token))
        assert status == 401, message
        assert sentence in message, message
    assert discover(credentials, {})[0] == 401


def test_new_keys_are_read_when_they_are_met(cluster, keys, monkeypatch):
    verifier = TokenVerifier(AUDIENCE, str(keys), issuer=ISSUER)
    credentials = Credentials(token=verifier)
    assert discover(credentials, bearer(cluster.token()))[0] == 200
    new = Signer("new")
    keys.write_text(json.dumps({"keys": [new.public()]}))
    assert discover(credentials, bearer(new.token()))[0] == 401, "keys are not read at each call"
    began = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: began + 11)
    assert discover(credentials, bearer(new.token()))[0] == 200
    assert discover(credentials, bearer(cluster.token()))[0] == 401


def test_without_keys_nobody_is_let_in(cluster):
    credentials = Credentials(token=TokenVerifier(AUDIENCE, "/nonexistent/jwks.json"))
    status, message = discover(credentials, bearer(cluster.token()))
    assert status == 503
    assert "/nonexistent/jwks.json" in message
