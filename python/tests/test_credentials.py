"""Calls with valid and invalid credentials."""

import asyncio
import functools
import http.server
import json
import ssl
import threading
import time
from datetime import datetime, timedelta, timezone

import jwt
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook

from dask_operator_plugin import Plugin
from dask_operator_plugin.asgi import Application
from dask_operator_plugin.credentials import (
    CONTROLLER,
    CannotVerify,
    Credentials,
    SignatureVerifier,
    TokenVerifier,
    Unauthorized,
)
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


def test_only_a_recent_signature_of_this_body_is_accepted(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    credentials = Credentials(signature=SignatureVerifier(secret))
    assert discover(credentials, signature(SECRET)) == (200, "")
    other = "whsec_AAAAsBQIhrscChlQIMV+b5sSYspob7oD"
    for headers, sentence in [
        ({}, "no signature"),
        (signature(other), "invalid"),
        (signature(SECRET, body="{}"), "invalid"),
        (signature(SECRET, age=400), "too old"),
        ({**signature(SECRET), "Webhook-Signature": "garbage"}, "does not conform to Standard Webhooks"),
        ({**signature(SECRET), "Webhook-Signature": "v1,abc"}, "does not conform to Standard Webhooks"),
        ({**signature(SECRET), "Webhook-Signature": "v1,\xe9"}, "does not conform to Standard Webhooks"),
        ({**signature(SECRET), "Webhook-Timestamp": "inf"}, "invalid"),
    ]:
        status, message = discover(credentials, headers)
        assert status == 401
        assert sentence in message
    secret.write_text(other)
    assert discover(credentials, signature(other))[0] == 200, "a new secret takes effect immediately"


def test_a_secret_may_be_any_bytes(tmp_path):
    secret, key = tmp_path / "secret", b"\xff\x00 no text \xfe"
    secret.write_bytes(key)
    credentials = Credentials(signature=SignatureVerifier(secret))
    assert discover(credentials, signature(key)) == (200, "")
    assert discover(credentials, signature(b"another"))[0] == 401


def test_a_signature_covers_the_body(tmp_path, review):
    (tmp_path / "secret").write_text(SECRET)
    plugin = Plugin("test", version="1")
    plugin.sync("Service")(lambda request: {})
    application = Application(plugin, Credentials(signature=SignatureVerifier(tmp_path / "secret")))
    body = json.dumps(review)
    headers = {**signature(SECRET, body), "Content-Type": "application/json"}
    ask = functools.partial(call, application, "POST", "/v1alpha1/sync")
    assert asyncio.run(ask(body.encode(), headers))[0] == 200
    for other in (body.replace("demo", "omed").encode(), b"", b"\xff"):
        assert asyncio.run(ask(other, headers))[0] == 401


def test_an_unknown_caller_is_refused_before_the_body_is_read(keys):
    application = Application(Plugin("test", version="1"), Credentials(token=TokenVerifier(AUDIENCE, str(keys))))
    status, body = asyncio.run(call(application, "POST", "/v1alpha1/sync", b" " * (5 << 20)))
    assert (status, body["error"]) == (401, "Unauthorized")


@pytest.mark.parametrize("content", ["", "whsec_", "whsec_no base64", None])
def test_with_an_invalid_secret_every_call_is_refused(tmp_path, content):
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


def test_only_a_token_of_the_controller_for_this_plugin_is_accepted(cluster, keys):
    credentials = Credentials(token=TokenVerifier(AUDIENCE, str(keys), issuer=ISSUER))
    assert discover(credentials, bearer(cluster.token())) == (200, "")
    forged = Signer("a")
    secret = jwt.encode(
        {"aud": AUDIENCE, "sub": CONTROLLER}, "a secret that another party knows", "HS256", {"kid": "a"}
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
        (Signer("b").token(), "not a key of the cluster"),
        (secret, "algorithm HS256"),
        ("stolen", "invalid"),
    ]:
        status, message = discover(credentials, bearer(token))
        assert status == 401, message
        assert sentence in message, message
    assert discover(credentials, {})[0] == 401


def test_new_keys_are_read_when_they_are_used(cluster, keys, monkeypatch):
    verifier = TokenVerifier(AUDIENCE, str(keys), issuer=ISSUER)
    credentials = Credentials(token=verifier)
    assert discover(credentials, bearer(cluster.token()))[0] == 200
    new = Signer("new")
    keys.write_text(json.dumps({"keys": [new.public()]}))
    assert discover(credentials, bearer(new.token()))[0] == 401, "keys are not read at each call"
    start = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: start + 11)
    assert discover(credentials, bearer(new.token()))[0] == 200
    assert discover(credentials, bearer(cluster.token()))[0] == 401


def test_without_keys_every_call_is_refused(cluster):
    credentials = Credentials(token=TokenVerifier(AUDIENCE, "/nonexistent/jwks.json"))
    status, message = discover(credentials, bearer(cluster.token()))
    assert status == 503
    assert "/nonexistent/jwks.json" in message


def test_unreadable_keys_are_not_read_at_each_call(cluster, keys, monkeypatch):
    start = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: start)
    content = keys.read_text()
    keys.unlink()
    credentials = Credentials(token=TokenVerifier(AUDIENCE, str(keys)))
    assert discover(credentials, bearer(cluster.token()))[0] == 503
    keys.write_text(content)
    assert discover(credentials, bearer(cluster.token()))[0] == 503
    monkeypatch.setattr(time, "monotonic", lambda: start + 11)
    assert discover(credentials, bearer(cluster.token()))[0] == 200
    keys.unlink()
    monkeypatch.setattr(time, "monotonic", lambda: start + 22)
    assert discover(credentials, bearer(Signer("invented").token()))[0] == 503
    assert discover(credentials, bearer(cluster.token()))[0] == 200, "a failed read does not withdraw keys"


def test_one_thread_reads_the_keys_and_known_keys_do_not_wait_for_it(cluster, keys, monkeypatch):
    verifier = TokenVerifier(AUDIENCE, str(keys))
    read, proceed, reads = threading.Event(), threading.Event(), []

    def slowly(self):
        reads.append(1)
        read.set()
        assert proceed.wait(60)
        return jwt.PyJWKSet.from_dict(json.loads(keys.read_text()))

    monkeypatch.setattr(TokenVerifier, "_read", slowly)
    verify = functools.partial(verifier.verify, {"authorization": f"Bearer {cluster.token()}"})
    first = [threading.Thread(target=verify) for _ in range(3)]
    for thread in first:
        thread.start()
    proceed.set()
    for thread in first:
        thread.join()
    assert len(reads) == 1

    proceed.clear()
    read.clear()
    later = time.monotonic() + 11
    monkeypatch.setattr(time, "monotonic", lambda: later)
    forged = {"authorization": f"Bearer {Signer('invented').token()}"}

    def forge():
        with pytest.raises(Unauthorized):
            verifier.verify(forged)

    thread = threading.Thread(target=forge)
    thread.start()
    assert read.wait(60)
    verify()
    with pytest.raises(CannotVerify):
        verifier.verify(forged)
    proceed.set()
    thread.join()
    assert len(reads) == 2


@pytest.mark.parametrize("content", ["[]", "5", '{"keys": 5}', '{"keys": [5]}', "{}", "{"])
def test_with_invalid_keys_every_call_is_refused(cluster, tmp_path, content):
    file = tmp_path / "jwks.json"
    file.write_text(content)
    status, message = discover(Credentials(token=TokenVerifier(AUDIENCE, str(file))), bearer(cluster.token()))
    assert status == 503
    assert "failed to read the public keys of the cluster" in message


@pytest.fixture
def address(tmp_path, keys):
    """Serves the keys and a redirect to them over https. Returns its URL and the file of its CA."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302 if self.path == "/moved" else 200)
            self.send_header("location", "/jwks")
            self.end_headers()
            self.wfile.write(keys.read_bytes())

        def log_message(self, *_):
            pass

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "jwks-ca.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://localhost:{server.server_port}", tmp_path / "jwks-ca.crt"
        server.shutdown()
        thread.join()


def test_keys_are_fetched_only_from_a_trusted_server_and_without_redirects(cluster, address, tmp_path, monkeypatch):
    url, trusted = address
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    other = tmp_path / "other.crt"
    trustme.CA().cert_pem.write_to_path(other)
    for path, authorities, expected in [("/jwks", trusted, 200), ("/moved", trusted, 503), ("/jwks", other, 503)]:
        verifier = TokenVerifier(AUDIENCE, url + path, authorities, ISSUER)
        status, message = discover(Credentials(token=verifier), bearer(cluster.token()))
        assert status == expected, message
