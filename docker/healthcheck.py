"""Ends with 0 when the server in this container is ready; asked by the image's HEALTHCHECK."""

import os
import ssl
import urllib.request

certificate = os.environ.get("POSELIFT_TLS_CERTIFICATE")
port = os.environ.get("POSELIFT_PORT", "8000")
# It is this very container that is asked, so nobody has to vouch for it.
context = ssl._create_unverified_context() if certificate else None
if context and os.environ.get("POSELIFT_TLS_CLIENT_CA"):
    context.load_cert_chain(certificate, os.environ["POSELIFT_TLS_KEY"])
scheme = "https" if certificate else "http"
with urllib.request.urlopen(f"{scheme}://127.0.0.1:{port}/readyz", timeout=4, context=context) as answer:
    answer.read()
