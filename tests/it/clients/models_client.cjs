// NODE_MODULES VENDOR WAY: a journey with the vendor's own library, by what the environment says; prints what it got.
// WAY is `base-url`, where the library is left as it comes, or `intercepted`, where its fetch is given the proxy of the
// environment: node's own fetch knows of none before version 24.
"use strict";
const [modules, vendor, way] = process.argv.slice(2);
const undici = require(`${modules}/undici`);

const dispatcher = new undici.EnvHttpProxyAgent();
const proxied = { fetch: (url, init) => undici.fetch(url, { ...init, dispatcher }) };
const options = { maxRetries: 0, timeout: 20_000, ...(way === "intercepted" ? proxied : {}) };

async function refused(asking) {
  try {
    await asking;
  } catch (error) {
    console.log("refused", error.status, error.message);
  }
}

async function openai() {
  const { OpenAI } = require(`${modules}/openai`);
  const client = new OpenAI(options);
  const ask = { model: "gpt-4o", messages: [{ role: "user", content: "hi" }], max_tokens: 9 };
  console.log("whole", (await client.chat.completions.create(ask)).usage.total_tokens);
  const totals = [];
  const stream = await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } });
  for await (const chunk of stream) {
    if (chunk.usage) totals.push(chunk.usage.total_tokens);
  }
  console.log(`stream [${totals}]`);
  await refused(client.chat.completions.create({ ...ask, model: "o1" }));
}

async function anthropic() {
  const { Anthropic } = require(`${modules}/@anthropic-ai/sdk`);
  const client = new Anthropic(options);
  const ask = { model: "claude-1", max_tokens: 9, messages: [{ role: "user", content: "hi" }] };
  console.log("whole", (await client.messages.create(ask)).usage.output_tokens);
  const stream = client.messages.stream(ask);
  let text = "";
  stream.on("text", (part) => (text += part));
  const last = await stream.finalMessage();
  console.log("stream", text, last.usage.output_tokens);
  await refused(client.messages.create({ ...ask, model: "claude-2" }));
}

({ openai, anthropic })[vendor]().finally(() => dispatcher.close());
