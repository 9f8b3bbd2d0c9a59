// METHOD URL [BODY]: node's own https through a CONNECT agent; prints status and body.
"use strict";
const https = require("node:https");
const { ConnectAgent } = require("./connect_agent.cjs");

const [method, url, body] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${process.env.OPENAI_API_KEY}` };
const request = https.request(url, { method, headers, agent: new ConnectAgent() }, (answer) => {
  console.log(answer.statusCode);
  answer.pipe(process.stdout);
});
request.on("error", (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
request.end(body);
