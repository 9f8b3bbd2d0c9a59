// An https.Agent that tunnels by CONNECT through the proxy of the environment.
"use strict";
const http = require("node:http");
const https = require("node:https");
const tls = require("node:tls");

class ConnectAgent extends https.Agent {
  createConnection(options, done) {
    const proxy = new URL(process.env.https_proxy);
    const authority = `${options.host}:${options.port}`;
    const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
    const proof = `Basic ${Buffer.from(pair).toString("base64")}`;
    // Left alone, node would name the proxy in Host, which disagrees with the target and is refused.
    const headers = { Host: authority, "Proxy-Authorization": proof };
    const request = http.request({ host: proxy.hostname, port: proxy.port, method: "CONNECT", path: authority, headers });
    request.on("error", done);
    request.on("connect", (answer, socket) => {
      if (answer.statusCode !== 200) {
        socket.destroy();
        return done(new Error(`CONNECT: ${answer.statusCode} ${answer.statusMessage}`));
      }
      const servername = options.servername || options.host;
      const secure = tls.connect({ socket, servername, ALPNProtocols: ["http/1.1"] }, () => done(null, secure));
      secure.on("error", done);
    });
    request.end();
  }
}

module.exports = { ConnectAgent };
