"""WHAT: a journey with a cloud's own library as it comes, with what the proxy publishes; prints a line for each thing that worked."""
import os
import sys


def google():
    from google.cloud import storage

    client = storage.Client()
    assert client.project == "acme-project", client.project
    bucket = client.bucket("acme")
    for name, data in {"plain": b"hello", "a folder/b c+d.txt": b"deep", "empty": b""}.items():
        bucket.blob(name).upload_from_string(data, timeout=20)
        assert bucket.blob(name).download_as_bytes(timeout=20) == data, name
    print("put get")
    names = [blob.name for blob in client.list_blobs("acme", timeout=20)]
    assert names == ["a folder/b c+d.txt", "empty", "plain"], names
    bucket.blob("a folder/b c+d.txt").delete(timeout=20)
    print("list delete")


def google_refused():
    from google.api_core.exceptions import Forbidden
    from google.cloud import storage

    client = storage.Client()
    for call in (lambda: client.bucket("acme").blob("a").delete(timeout=20), lambda: client.bucket("evil").blob("a").download_as_bytes(timeout=20)):
        try:
            call()
        except Forbidden as error:
            print("refused", "DW1002" in str(error))


def metadata():
    import google.auth.transport.requests
    from google.auth import compute_engine
    from google.cloud import storage

    credentials = compute_engine.Credentials()
    credentials.refresh(google.auth.transport.requests.Request())
    assert credentials.token.startswith("ya29.dw0"), credentials.token
    print("dummy token")
    client = storage.Client(project="p", credentials=credentials)
    client.bucket("acme").blob("m").upload_from_string(b"by metadata", timeout=20)
    print("put")


def azure():
    from azure.identity import DefaultAzureCredential
    from azure.keyvault.secrets import SecretClient
    from azure.storage.blob import BlobServiceClient

    credential = DefaultAzureCredential()
    service = BlobServiceClient("https://acme.blob.core.windows.net", credential=credential)
    for name, data in {"plain": b"hello", "a folder/b c+d.txt": b"deep"}.items():
        blob = service.get_blob_client("logs", name)
        blob.upload_blob(data, overwrite=True)
        assert blob.download_blob().readall() == data, name
        blob.delete_blob()
    print("blobs")
    vault = SecretClient("https://v1.vault.azure.net", credential)
    assert vault.set_secret("db", "pass word").value == "pass word"
    assert vault.get_secret("db").value == "pass word"
    print("vault")
    token = credential.get_token("https://management.azure.com/.default").token
    import requests

    answer = requests.get("https://management.azure.com/subscriptions?api-version=2022-12-01", headers={"Authorization": f"Bearer {token}"}, timeout=20)
    assert answer.json() == {"value": []}, answer.text
    print("management")


def use_github(client):
    repository = client.get_repo("acme/api")
    assert repository.full_name == "acme/api"
    assert repository.create_issue("a title").number == 7
    print("token")


def github_server():
    from github import Auth, Github

    base, token = f"https://{os.environ['GH_HOST']}/api/v3", os.environ["GH_ENTERPRISE_TOKEN"]
    use_github(Github(base_url=base, auth=Auth.Token(token), retry=None))


def github():
    from github import Auth, Github

    use_github(Github(auth=Auth.Token(os.environ["GITHUB_TOKEN"]), retry=None))
    # An agent that plays the app itself, with a key of its own making: its call for a token is answered with the dummy.
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    auth = Auth.AppAuth(99, pem).get_installation_auth(456)
    assert Github(auth=auth, retry=None).get_repo("acme/api").full_name == "acme/api"
    assert auth.token == os.environ["GITHUB_TOKEN"], auth.token
    print("app")


globals()[sys.argv[1]]()
