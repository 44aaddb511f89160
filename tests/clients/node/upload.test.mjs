// Files that OpenAI's official Node client uploads from a stream arrive as they are.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import OpenAI from "openai";
import { scene } from "./scene.mjs";

const UPLOADS = 40;
const LARGEST = 3_000_000;

let stage;
let client;
let folder;

before(async () => {
  stage = await scene(new URL("../../hostile/scene.py", import.meta.url).pathname);
  client = new OpenAI({ baseURL: `${stage.url}/v1`, apiKey: "sk-test", maxRetries: 0 });
  folder = await mkdtemp(join(tmpdir(), "uploads-"));
});

after(async () => {
  await rm(folder, { recursive: true });
  await stage.end();
});

const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");

test(`${UPLOADS} files from streams arrive as they are`, async () => {
  for (let at = 0; at < UPLOADS; at += 1) {
    const bytes = randomBytes(Math.ceil((LARGEST * (at + 1)) / UPLOADS));
    const path = join(folder, `${at}.bin`);
    await writeFile(path, bytes);
    const told = await client.files.create({ file: createReadStream(path), purpose: "batch" });
    assert.equal(told.file_sha256, digest(bytes), `upload ${at} of ${bytes.length} bytes, the form had ${told.bytes}`);
  }
});

// A body whose length is not known beforehand is chunked, whatever the client makes of files.
test("a body from a stream arrives as it is", async () => {
  for (let at = 0; at < UPLOADS; at += 1) {
    const bytes = randomBytes(Math.ceil((LARGEST * (at + 1)) / UPLOADS));
    const path = join(folder, `raw-${at}.bin`);
    await writeFile(path, bytes);
    const answer = await fetch(`${stage.url}/v1/files`, { method: "POST", body: createReadStream(path), duplex: "half" });
    assert.equal(answer.status, 200);
    assert.equal((await answer.json()).sha256, digest(bytes), `upload ${at} of ${bytes.length} bytes`);
  }
});
