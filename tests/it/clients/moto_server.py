"""CERTIFICATE KEY: moto, a real S3-compatible server, with its verification of signatures switched on; prints its port, then ID and SECRET."""
import ssl
import sys

from moto import settings
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.authorization import ActionAuthenticatorMixin
from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

CERTIFICATE, KEY = sys.argv[1:]
POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'

iam = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
iam.create_user("eu-west-1", "agent")
iam.put_user_policy("agent", "all", POLICY)
iam.create_role("bot", POLICY, "/team/", None, "", [], None)
iam.put_role_policy("bot", "all", POLICY)
key = iam.create_access_key("agent")
s3_backends[DEFAULT_ACCOUNT_ID]["aws"].create_bucket("acme", "eu-west-1")
settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
ActionAuthenticatorMixin.request_count = 0

tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(CERTIFICATE, KEY)
app = DomainDispatcherApplication(create_backend_app)


class Handler(MotoRequestHandler):
    def log(self, *_):
        pass


server = make_server("127.0.0.1", 0, app, True, request_handler=Handler, ssl_context=tls)
print(server.server_port, flush=True)
print(key.access_key_id, flush=True)
print(key.secret_access_key, flush=True)
server.serve_forever()
