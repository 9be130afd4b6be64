"""A hook for Metacontroller's DecoratorController: an Ingress for each Service with the annotation example.org/host.

It does not depend on dask-operator. The plugin calls it unchanged.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def sync(request):
    service = request["object"]
    observed = request["attachments"]["Ingress.networking.k8s.io/v1"]
    if request["finalizing"]:
        # As in the documentation of Metacontroller: wait until the attachments are no longer observed.
        return {"attachments": [], "finalized": not observed}
    name = service["metadata"]["name"]
    host = service["metadata"].get("annotations", {}).get("example.org/host")
    if not host:
        return {"attachments": []}
    backend = {"service": {"name": name, "port": {"name": "http-dashboard"}}}
    ingress = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name},
        "spec": {
            "rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]
        },
    }
    answer = {"labels": {"example.org/exposed": "true"}, "attachments": [ingress]}
    if name not in observed:
        answer["resyncAfterSeconds"] = 2.5
    return answer


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(sync(request)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000), Hook)
    print(server.server_port, flush=True)
    server.serve_forever()
