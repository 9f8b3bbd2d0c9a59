// NODE_MODULES URL MESSAGE…: the `ws` library; sends each message and prints what comes back.
"use strict";
const { ConnectAgent } = require("./connect_agent.cjs");

const [modules, url, ...messages] = process.argv.slice(2);
const WebSocket = require(`${modules}/ws`);
const socket = new WebSocket(url, { agent: new ConnectAgent() });
socket.on("open", () => socket.send(messages.shift()));
socket.on("message", (data) => {
  console.log(data.toString());
  if (messages.length > 0) socket.send(messages.shift());
  else socket.close(1000);
});
socket.on("close", (code) => console.log(`closed ${code}`));
socket.on("unexpected-response", (request, answer) => {
  console.log(`refused ${answer.statusCode}`);
  answer.pipe(process.stdout);
  answer.on("end", () => process.exit(1));
});
socket.on("error", (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
