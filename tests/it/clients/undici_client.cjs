// NODE_MODULES AGENT METHOD URL [BODY]: fetch through undici's AGENT; prints status and body.
"use strict";
const [modules, agent, method, url, body] = process.argv.slice(2);
const undici = require(`${modules}/undici`);

const dispatcher =
  agent === "ProxyAgent" ? new undici.ProxyAgent(process.env.https_proxy) : new undici.EnvHttpProxyAgent();
const headers = { Authorization: `Bearer ${process.env.OPENAI_API_KEY}` };
undici
  .fetch(url, { dispatcher, method, headers, body })
  .then(async (answer) => console.log(`${answer.status}\n${await answer.text()}`))
  .finally(() => dispatcher.close());
