// OpenAI's official Node client, changed in nothing but its baseURL, talks to the gateway as to the API.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import OpenAI from "openai";
import { scene } from "./scene.mjs";

const PIXEL = Buffer.alloc(2000, "pixel").toString("base64");
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

let stage;
let client;

before(async () => {
  stage = await scene();
  client = new OpenAI({ baseURL: `${stage.url}/v1`, apiKey: "sk-test" });
});

after(() => stage.end());

const user = (content) => [{ role: "user", content }];
const ask = (content, model = "echo", options = {}) =>
  client.chat.completions.create({ model, messages: user(content), ...options });

async function collect(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}

async function stream(content, model = "echo", options = {}) {
  return collect(await ask(content, model, { stream: true, ...options }));
}

const said = (chunks) =>
  chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta.content ?? "")).join("");

// The error of a call, which has to be of exactly this class.
async function refused(kind, content, model = "echo", options = {}) {
  const call = options.stream ? stream(content, model, options) : ask(content, model, options);
  const error = await call.then(
    () => assert.fail("the call was answered"),
    (error) => error,
  );
  assert.equal(error.constructor, kind, `${error}`);
  return error;
}

// How many requests for `model` reach the upstream while `call` runs.
async function askedOfUpstream(model, call) {
  const before = await stage.asked(model);
  await call();
  return (await stage.asked(model)) - before;
}

test("a completion is whole", async () => {
  const answer = await ask("Good morning!");
  assert.equal(answer.choices[0].message.content, "Good morning!");
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

test("both ids reach the client", async () => {
  const { data, response, request_id: id } = await ask("hi", "scripted").withResponse();
  assert.equal(data.choices[0].message.content, "hello");
  assert.equal(id, "req_scripted");
  assert.match(response.headers.get("x-hookway-request-id"), /^[0-9a-f]{32}$/);
});

test("a stream comes in parts and ends", async () => {
  const chunks = await stream("one two three");
  assert.equal(said(chunks), "one two three");
  assert.ok(chunks.length > 3);
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
});

test("a stream tells usage in its last chunk if asked", async () => {
  const chunks = await stream("one two three", "echo", { stream_options: { include_usage: true } });
  const last = chunks.at(-1);
  assert.deepEqual(last.choices, []);
  assert.deepEqual([last.usage.prompt_tokens, last.usage.completion_tokens], [3, 3]);
});

test("a tool is called and its result taken", async () => {
  const asked = user("please call get_weather for Oslo");
  const first = await client.chat.completions.create({ model: "echo", messages: asked, tools: [WEATHER] });
  const { message, finish_reason: reason } = first.choices[0];
  assert.deepEqual([message.tool_calls[0].function.name, reason], ["get_weather", "tool_calls"]);
  const result = { role: "tool", tool_call_id: message.tool_calls[0].id, content: "sunny" };
  const messages = [...asked, message, result];
  const second = await client.chat.completions.create({ model: "echo", messages, tools: [WEATHER] });
  assert.equal(second.choices[0].message.content, "sunny");
});

test("the helper for streams puts a tool call together", async () => {
  const streamed = client.chat.completions.stream({
    model: "echo",
    messages: user("call get_weather"),
    tools: [WEATHER],
  });
  const completion = await streamed.finalChatCompletion();
  const [call] = completion.choices[0].message.tool_calls;
  assert.deepEqual(JSON.parse(call.function.arguments), { city: "call get_weather" });
});

test("image parts pass", async () => {
  const image = { type: "image_url", image_url: { url: `data:image/png;base64,${PIXEL}` } };
  const answer = await ask([{ type: "text", text: "What is this?" }, image]);
  assert.equal(answer.choices[0].message.content, "What is this?\n[image]");
});

test("a prompt of 5 MB passes every plugin", async () => {
  const prompt = "lorem ipsum dolor ".repeat(Math.ceil(5_000_000 / 18));
  assert.equal((await ask(prompt)).choices[0].message.content, prompt);
});

test("what a prompt must not tell is masked before the upstream", async () => {
  const answer = await ask("Write to ann@example.com.");
  assert.equal(answer.choices[0].message.content, "Write to ***.");
});

test("models of all upstreams are one list", async () => {
  const models = await collect(client.models.list());
  assert.deepEqual(models.map((model) => model.id).sort(), ["echo", "scripted"]);
  assert.equal((await client.models.retrieve("scripted")).owned_by, "tests");
  await assert.rejects(client.models.retrieve("no-such-model"), OpenAI.NotFoundError);
});

test("embeddings pass as floats and as the client's own base64", async () => {
  for (const options of [{ encoding_format: "float" }, {}]) {
    const answer = await client.embeddings.create({ model: "scripted", input: "hi", ...options });
    assert.deepEqual(answer.data[0].embedding, [0.5, -0.25, 1]);
  }
});

test("a refused prompt raises the class of its status and reaches no upstream", async () => {
  for (const options of [{}, { stream: true }]) {
    const asked = await askedOfUpstream("scripted", async () => {
      const error = await refused(OpenAI.BadRequestError, "the launch codes", "scripted", options);
      assert.deepEqual([error.status, error.code, error.type], [400, "no_secrets", "invalid_request_error"]);
      assert.match(error.message, /We do not talk about those\./);
      assert.equal(error.headers.get("x-hookway-plugin"), "guard");
    });
    assert.equal(asked, 0);
  }
});

test("what the gateway refuses itself has OpenAI's form", async () => {
  const error = await refused(OpenAI.BadRequestError, "hi", null);
  assert.deepEqual([error.param, error.type], ["model", "invalid_request_error"]);
});

test("an upstream's status keeps its class and text and is tried as the route says", async () => {
  const classes = [
    ["status-401", OpenAI.AuthenticationError, 1],
    ["status-404", OpenAI.NotFoundError, 1],
    ["status-422", OpenAI.UnprocessableEntityError, 1],
    ["status-429", OpenAI.RateLimitError, 2],
    ["status-500", OpenAI.InternalServerError, 2],
    ["status-503", OpenAI.InternalServerError, 2],
  ];
  for (const [model, kind, times] of classes) {
    for (const options of [{}, { stream: true }]) {
      // Were the client to retry as well, there would be three times as many.
      const asked = await askedOfUpstream(model, async () => {
        const error = await refused(kind, "hi", model, options);
        assert.equal(error.code, "scripted");
        assert.match(error.message, new RegExp(`${model} was asked for`));
      });
      assert.equal(asked, times, model);
    }
  }
});

test("an upstream that does not answer is a timeout of the gateway", async () => {
  const asked = await askedOfUpstream("slow", async () => {
    const error = await refused(OpenAI.InternalServerError, "hi", "slow");
    assert.deepEqual([error.status, error.code], [504, "upstream_failed"]);
  });
  assert.equal(asked, 2);
});

test("a stream that breaks off raises instead of ending", async () => {
  const parts = [];
  const reading = async () => {
    for await (const chunk of await ask("hi", "cut", { stream: true })) parts.push(chunk);
  };
  await assert.rejects(reading, (error) => error instanceof OpenAI.APIError && error.code === "upstream_failed");
  assert.equal(said(parts), "hel");
});

test("rescue answers in the place of an upstream that is gone, in the form that was asked for", async () => {
  assert.equal((await ask("hi", "gone")).choices[0].message.content, "Back in a minute.");
  const chunks = await stream("hi", "gone", { stream_options: { include_usage: true } });
  assert.equal(said(chunks), "Back in a minute.");
  assert.equal(chunks.at(-1).usage.total_tokens, 0);
});

test("a client that leaves a stream early is served again", async () => {
  const left = await ask("one two three", "echo", { stream: true });
  for await (const chunk of left) {
    if (chunk.choices[0].delta.content) break;
  }
  assert.equal((await ask("still there?")).choices[0].message.content, "still there?");
});
