"""CERTIFICATE KEY [verifying]: moto's KMS and STS; prints its port, then ID, SECRET, ARN, and the ARN of another key.

With `verifying` it verifies signatures; then nothing unsigned is answered.
"""
import ssl
import sys

from moto import settings
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.authorization import ActionAuthenticatorMixin
from moto.iam.models import iam_backends
from moto.kms.models import kms_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

CERTIFICATE, KEY = sys.argv[1:3]
POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'

iam = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
iam.create_user("eu-west-1", "vault")
iam.put_user_policy("vault", "all", POLICY)
access = iam.create_access_key("vault")
kms = kms_backends[DEFAULT_ACCOUNT_ID]["eu-west-1"]
make = lambda: kms.create_key(policy=None, key_usage="ENCRYPT_DECRYPT", key_spec="SYMMETRIC_DEFAULT", description="", tags=None)
first, other = make(), make()
if "verifying" in sys.argv:
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    ActionAuthenticatorMixin.request_count = 0

tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(CERTIFICATE, KEY)


class Handler(MotoRequestHandler):
    def log(self, *_):
        pass


server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), True, request_handler=Handler, ssl_context=tls)
for line in [server.server_port, access.access_key_id, access.secret_access_key, first.arn, other.arn]:
    print(line, flush=True)
server.serve_forever()
