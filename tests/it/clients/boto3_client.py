"""WHAT: a journey with boto3 as it comes, with the dummies of the environment; prints a line for each thing that worked."""
import io
import sys

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

REGION, BUCKET = "eu-west-1", "acme"
config = Config(retries={"max_attempts": 1}, read_timeout=20, connect_timeout=10)


def client(name, **kwargs):
    return boto3.client(name, region_name=REGION, config=config, **kwargs)


def objects():
    s3 = client("s3")
    bodies = {
        "plain.txt": b"hello",
        "empty": b"",
        "a folder/with spaces + plus.txt": b"spaces",
        "unicode/\u00e4\u1234.bin": bytes(range(256)) * 300,
        "dots/..hidden/a.b..c": b"dots",
        "big": b"0123456789abcdef" * 20_000,
    }
    for key, body in bodies.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=body, Metadata={"m": "x  y"})
        assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == body, key
        assert s3.head_object(Bucket=BUCKET, Key=key)["ContentLength"] == len(body), key
    print("put get head")
    s3.put_object(Bucket=BUCKET, Key="file", Body=io.BytesIO(b"from a file" * 30_000))
    assert s3.get_object(Bucket=BUCKET, Key="file", Range="bytes=0-9")["Body"].read() == b"from a fil"
    print("range")
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert set(bodies) < set(keys), keys
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "a folder/with spaces + plus.txt"})
    assert s3.get_object(Bucket=BUCKET, Key="copy")["Body"].read() == b"spaces"
    s3.delete_object(Bucket=BUCKET, Key="copy")
    print("list copy delete")
    data = bytes(1000) * 12_000
    s3.upload_fileobj(io.BytesIO(data), BUCKET, "multi", Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20))
    assert s3.get_object(Bucket=BUCKET, Key="multi")["Body"].read() == data
    print("multipart")


def moto():
    s3 = client("s3")
    for key, body in {"plain": b"hello", "empty": b"", "a b/c+d/\u00e4.txt": b"spaces", "big": bytes(300_000)}.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == body, key
    assert len(s3.list_objects_v2(Bucket=BUCKET)["Contents"]) == 4
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "plain"})
    s3.delete_object(Bucket=BUCKET, Key="copy")
    s3.upload_fileobj(io.BytesIO(bytes(11 << 20)), BUCKET, "multi", Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20))
    assert s3.head_object(Bucket=BUCKET, Key="multi")["ContentLength"] == 11 << 20
    print("objects")
    dynamodb = client("dynamodb")
    dynamodb.create_table(TableName="t", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}], AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}], BillingMode="PAY_PER_REQUEST")
    dynamodb.put_item(TableName="t", Item={"id": {"S": "\u00e4"}})
    assert dynamodb.get_item(TableName="t", Key={"id": {"S": "\u00e4"}})["Item"] == {"id": {"S": "\u00e4"}}
    queue = client("sqs").create_queue(QueueName="q")["QueueUrl"]
    assert queue.startswith("https://"), queue
    client("sqs").send_message(QueueUrl="https://sqs.eu-west-1.amazonaws.com/123456789012/q", MessageBody="m + \u00e4")
    assert client("sts").get_caller_identity()["Arn"].endswith(("user/agent", "assumed-role/bot/worker"))
    print("services")


def identity():
    print(client("sts").get_caller_identity()["Arn"])


def path_style():
    s3 = boto3.client("s3", region_name=REGION, config=config.merge(Config(s3={"addressing_style": "path"})))
    s3.put_object(Bucket=BUCKET, Key="p a/t+h", Body=b"path")
    assert s3.get_object(Bucket=BUCKET, Key="p a/t+h")["Body"].read() == b"path"
    signed = config.merge(Config(s3={"addressing_style": "path", "payload_signing_enabled": True}, request_checksum_calculation="when_required"))
    s3 = boto3.client("s3", region_name=REGION, config=signed)
    s3.put_object(Bucket=BUCKET, Key="signed", Body=b"a signed payload" * 10_000)
    assert len(s3.get_object(Bucket=BUCKET, Key="signed")["Body"].read()) == 160_000
    print("path style")


def presigned():
    import requests

    for version in ("s3", "s3v4"):
        s3 = boto3.client("s3", region_name=REGION, config=config.merge(Config(signature_version=version)))
        put = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "pre signed"}, ExpiresIn=600)
        assert ("AWSAccessKeyId" in put) == (version == "s3"), put
        answer = requests.put(put, data=b"presigned", timeout=15)
        assert answer.status_code == 200, answer.text
        get = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "pre signed"}, ExpiresIn=604800)
        assert requests.get(get, timeout=15).content == b"presigned"
    print("presigned")


def services():
    item = client("dynamodb").get_item(TableName="t", Key={"id": {"S": "x"}})["Item"]
    assert item == {"name": {"S": "x"}}, item
    sent = client("sqs").send_message(QueueUrl="https://sqs.eu-west-1.amazonaws.com/1/q", MessageBody="m + \u00e4")
    assert sent["MessageId"] == "m1"
    assert client("sts").get_caller_identity()["Account"] == "123456789012"
    ran = client("lambda").invoke(FunctionName="ok", Payload=b'{"a": 1}')
    assert ran["Payload"].read() == b'ran {"a": 1}'
    print("services")


def events():
    select = {"ExpressionType": "SQL", "Expression": "select * from s3object", "InputSerialization": {"CSV": {}}, "OutputSerialization": {"CSV": {}}}
    events = [event for event in client("s3").select_object_content(Bucket=BUCKET, Key="table.csv", **select)["Payload"]]
    assert [list(event)[0] for event in events] == ["Records", "End"], events
    assert events[0]["Records"]["Payload"] == b"a,b\n1,2\n" * 3
    print("events")


def refused(call):
    try:
        call()
    except ClientError as error:
        code = error.response["Error"].get("Code"), error.response["ResponseMetadata"]["HTTPStatusCode"]
        print("refused", *code)
    else:
        print("not refused")


def refusals():
    s3 = client("s3")
    refused(lambda: s3.delete_bucket(Bucket=BUCKET))
    refused(lambda: s3.get_object(Bucket="evil", Key="a"))
    refused(lambda: s3.copy_object(Bucket=BUCKET, Key="x", CopySource="evil/a"))
    refused(lambda: boto3.client("s3", region_name="us-east-1", config=config).get_object(Bucket=BUCKET, Key="a"))
    refused(lambda: client("sqs").list_queues())
    refused(lambda: client("sts").assume_role(RoleArn="arn:aws:iam::123456789012:role/admin-role", RoleSessionName="me"))


globals()[sys.argv[1]]()
