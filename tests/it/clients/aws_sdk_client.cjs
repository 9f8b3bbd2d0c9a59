// NODE_MODULES WHAT: a journey with @aws-sdk/client-s3 as it comes, with the dummies of the environment; prints a line for each thing that worked.
"use strict";
const assert = require("node:assert");
const { Readable } = require("node:stream");
const { ConnectAgent } = require("./connect_agent.cjs");
const [modules, what] = process.argv.slice(2);
const s3 = require(`${modules}/@aws-sdk/client-s3`);
const { Upload } = require(`${modules}/@aws-sdk/lib-storage`);

const Bucket = "acme";
const client = new s3.S3Client({ region: "eu-west-1", maxAttempts: 1, requestHandler: { httpsAgent: new ConnectAgent({ keepAlive: true }) } });
const send = (name, input) => client.send(new s3[`${name}Command`]({ Bucket, ...input }));
const bytes = async (answer) => Buffer.from(await answer.Body.transformToByteArray());

async function objects() {
  const bodies = {
    "plain.txt": "hello",
    empty: "",
    "a folder/with spaces + plus.txt": "spaces",
    "unicode/\u00e4\u1234.bin": Buffer.alloc(70_000, 7),
    "dots/..hidden/a.b..c": "dots",
  };
  for (const [Key, Body] of Object.entries(bodies)) {
    await send("PutObject", { Key, Body, Metadata: { m: "x  y" } });
    assert.deepEqual(await bytes(await send("GetObject", { Key })), Buffer.from(Body), Key);
    assert.equal((await send("HeadObject", { Key })).ContentLength, Buffer.byteLength(Body), Key);
  }
  console.log("put get head");
  const listed = (await send("ListObjectsV2", {})).Contents.map((entry) => entry.Key);
  assert(Object.keys(bodies).every((key) => listed.includes(key)), listed);
  await send("DeleteObject", { Key: "plain.txt" });
  await assert.rejects(send("GetObject", { Key: "plain.txt" }), { name: "NoSuchKey" });
  console.log("list delete");
}

async function streams() {
  // Of unknown length: in parts. Of known length: one request with `Expect: 100-continue`, in chunks with a trailer.
  const size = 12 << 20;
  const generated = function* (left) {
    for (; left > 0; left -= 65_536) yield Buffer.alloc(Math.min(left, 65_536), left % 251);
  };
  await new Upload({ client, params: { Bucket, Key: "parts", Body: Readable.from(generated(size)) } }).done();
  assert.equal((await bytes(await send("GetObject", { Key: "parts" }))).length, size);
  console.log("parts");
  const Body = Readable.from(generated(size));
  await send("PutObject", { Key: "streamed", Body, ContentLength: size });
  assert.equal((await bytes(await send("GetObject", { Key: "streamed" }))).length, size);
  console.log("streamed");
}

async function large() {
  const size = 96 << 20;
  const piece = Buffer.alloc(1 << 20, 7);
  const generated = function* () {
    for (let left = size; left > 0; left -= piece.length) yield piece;
  };
  await send("PutObject", { Key: "large", Body: Readable.from(generated()), ContentLength: size });
  assert.equal((await send("HeadObject", { Key: "large" })).ContentLength, size);
  console.log("large");
}

async function events() {
  const input = { Key: "table.csv", Expression: "select * from s3object", ExpressionType: "SQL", InputSerialization: { CSV: {} }, OutputSerialization: { CSV: {} } };
  const answer = await send("SelectObjectContent", input);
  const kinds = [];
  for await (const event of answer.Payload) {
    kinds.push(Object.keys(event)[0]);
    if (event.Records) assert.equal(Buffer.from(event.Records.Payload).toString(), "a,b\n1,2\n".repeat(3));
  }
  assert.deepEqual(kinds, ["Records", "End"]);
  console.log("events");
}

async function refusals() {
  await assert.rejects(send("DeleteBucket", {}), (error) => error.name === "DW1002" && error.$metadata.httpStatusCode === 403);
  console.log("refused");
}

({ objects, streams, large, events, refusals })[what]().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
