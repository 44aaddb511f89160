// Write a Hookway plugin in Node.js. One file, no dependencies, Node.js 18 or later.
//
//     import { Plugin } from "./hookway.mjs";
//
//     const plugin = new Plugin({ version: "1.0.0" });
//
//     plugin.onRequest((call) => {
//       if (call.headers["x-mood"] === "shouting") {
//         return call.reject("Please calm down first.", { status: 400, code: "shouting" });
//       }
//       if (call.body.length < 1000) return call.proceed({ model: plugin.config.small });
//       return call.proceed();
//     });
//
//     plugin.run();
//
// A handler returns a verdict, which one of the call's methods makes. It may be async; calls then run side by side. If
// a handler throws, its call fails and no other: the operator reads which handler and why, stderr has the stack. What
// is printed is captured by the gateway.

import { Buffer } from "node:buffer";
import { Socket } from "node:net";
import process from "node:process";

// A frame is 16 bytes of header (len u32, id u32, type u8, flags u8, code u16, meta_len u32; little-endian), then
// meta (JSON), then raw body.
const HEADER_BYTES = 16;
const HELLO = 1, READY = 2, CALL = 3, DATA = 4, RESULT = 5, ERROR = 6, CANCEL = 7, CREDIT = 8;
const PING = 9, PONG = 10, CONFIGURE = 11, DRAIN = 12, SHUTDOWN = 13, LOG = 14;
const OF_LINK = new Set([HELLO, READY, PING, PONG, DRAIN, SHUTDOWN]);
const OF_CALL = new Set([CALL, DATA, RESULT, CANCEL, CREDIT, CONFIGURE]);
const FROM_GATEWAY = new Set([CALL, DATA, ERROR, CANCEL, CREDIT, PING, CONFIGURE, DRAIN, SHUTDOWN]);
const END = 1, UNCHANGED = 2, BODY = 4;
const ERRORS = { error: 1, protocol: 2, version: 4, too_large: 6, unsupported: 7 };
const HOOKS = new Map([[1, "onRequest"], [4, "onError"]]);
const FAILURE = [
  "cause", "phase", "upstream", "attempt", "status", "elapsedMs", "bytesSent", "willRetry", "message", "errorBody",
];
const NOTHING = Buffer.alloc(0);
/** Of a body, in one frame. */
const PART_BYTES = 64 << 10;
/** Of a call's body that may come unasked; more is granted by the half. */
const CREDIT_BYTES = 1 << 20;
/** Of an error; a longer one is cut. */
const MESSAGE_CHARACTERS = 2000;
const LEVELS = ["debug", "info", "warn", "error"];
/** Options of verdicts that let the request go on, and of those that answer the client. */
const CHANGES = ["headers", "model", "upstream", "metadata"];
const ANSWER = ["headers", "metadata"];
const RETURNS = new Map([
  [1, "call.proceed(), call.patch(...), call.replace(...), call.respond(...) or call.reject(...)"],
  [4, "call.proceed(), call.respond(...), call.reject(...), call.retry(...) or call.fallback(...)"],
]);

/** The gateway sent what it must not. */
class ProtocolError extends Error {}

/** What a handler returns: the meta of a RESULT, as an object, and its body. */
class Verdict {
  constructor(meta, body = NOTHING) {
    this.meta = meta;
    this.body = body;
  }
}

const NO_CHANGE = new Verdict({ action: "continue" });

/** One hook of one request. What the manifest did not ask for is empty. */
export class Call {
  constructor(meta, body = NOTHING) {
    /** Everything the gateway told. */
    this.meta = meta;
    /** The request body as it came: a Buffer. */
    this.body = body;
    this.requestId = meta.requestId;
    this.generation = meta.generation;
    this.endpoint = meta.endpoint;
    this.method = meta.method;
    this.path = meta.path;
    this.model = meta.model;
    this.stream = meta.stream;
    /** Tells the clients' keys apart; undefined without a key. */
    this.keyId = meta.keyId;
    /** Names are in lower case. */
    this.headers = meta.headers ?? {};
    this.pointers = meta.pointers ?? {};
    /** Notes of earlier plugins. */
    this.metadata = meta.metadata ?? {};
    /** In `onError`, why the attempt failed: `cause`, `phase`, `upstream`, `attempt`, `status`, `willRetry` … */
    this.failure = meta.cause === undefined ? null : Object.fromEntries(FAILURE.map((key) => [key, meta[key]]));
    this.aborter = new AbortController();
    /** The method that made a verdict, if one did. */
    this.made = undefined;
  }

  /** Aborted once nobody waits for the verdict any more. */
  get signal() {
    return this.aborter.signal;
  }

  /** The request body; parsed at each call, so keep the result. Integers above 2^53 lose digits: patch, not replace. */
  json() {
    return JSON.parse(this.body.toString());
  }

  // Verdicts. `headers` ({ name: value, or null to remove it }) changes the upstream request, or the answer of
  // `respond` and `reject`. `model` and `upstream` say where to route the request. `metadata` has notes for later
  // plugins and for the record. An option that is not known is an error.

  /** The request goes on. */
  proceed(changes) {
    return this.#verdict("proceed", "continue", changes, CHANGES);
  }

  /** Merge patch (RFC 7396): values replace, null removes, objects merge. */
  patch(mergePatch, changes) {
    return this.#verdict("patch", "patch", changes, CHANGES, { patch: mergePatch });
  }

  /** JSON patch (RFC 6902): a list of operations. */
  jsonPatch(operations, changes) {
    return this.#verdict("jsonPatch", "patch", changes, CHANGES, { jsonPatch: operations });
  }

  /** A new body: bytes, text, or something to write as JSON. */
  replace(body, changes) {
    return this.#verdict("replace", "replace", changes, CHANGES, {}, body);
  }

  /** Answers in the upstream's place; a chat completion goes out as a stream if the client asked for one. */
  respond(body, { status = 200, ...changes } = {}) {
    return this.#verdict("respond", "respond", changes, ANSWER, { status }, body);
  }

  /** Answers with an error in OpenAI's form. */
  reject(message, { status = 403, code, type, param, ...changes } = {}) {
    for (const [name, value] of Object.entries({ message, code, type, param })) {
      if (value !== undefined && value !== null && typeof value !== "string") {
        throw new TypeError(`call.reject: ${name} has to be text, not ${describe(value)}`);
      }
    }
    const error = { message, code: code ?? undefined, type: type ?? undefined, param: param ?? undefined };
    return this.#verdict("reject", "reject", changes, ANSWER, { status, error });
  }

  /** In `onError`: the same upstream again, with `patch` merged in. */
  retry({ delayMs = 0, patch, ...changes } = {}) {
    return this.#verdict("retry", "retry", changes, ANSWER, { delayMs, patch });
  }

  /** In `onError`: go on elsewhere. */
  fallback(changes) {
    return this.#verdict("fallback", "fallback", changes, CHANGES);
  }

  #verdict(method, action, changes, known, fields = {}, body = NOTHING) {
    this.made = method;
    if (action === "continue" && !changes) return NO_CHANGE;
    const unknown = Object.keys(changes ?? {}).find((option) => !known.includes(option));
    if (unknown !== undefined) throw new TypeError(`call.${method}: unknown option "${unknown}"`);
    const { headers = {}, model, upstream, metadata } = changes ?? {};
    const names = Object.keys(headers ?? {});
    const remove = names.filter((name) => headers[name] === null || headers[name] === undefined);
    const set = Object.fromEntries(names.filter((name) => !remove.includes(name)).map((name) => [name, headers[name]]));
    for (const [name, value] of Object.entries(set)) {
      if (typeof value === "string") continue;
      throw new TypeError(`headers: "${name}" has to be text, or null to remove it, not ${describe(value)}`);
    }
    // Keys without a value are left out by JSON.stringify.
    const meta = { action, ...fields, metadata };
    if (names.length) meta.headers = { set, remove };
    if (model !== undefined || upstream !== undefined) meta.route = { model, upstream };
    return new Verdict(meta, toBytes(body));
  }
}

/** A value in words that say what it is and not all that is in it. */
function describe(value) {
  if (value === null || value === undefined || typeof value === "boolean") return String(value);
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/** A handler as its author finds it: `onRequest handler mask`. */
function named(code, handler) {
  return `${HOOKS.get(code)} handler${handler.name ? ` ${handler.name}` : ""}`;
}

/** Which handler failed, why, and the line of the plugin where it did. */
function thrown(code, handler, error) {
  const frames = String(error?.stack ?? "").split("\n").filter((line) => line.startsWith("    at "));
  const own = frames.find((line) => !line.includes(import.meta.url) && !line.includes("node:"));
  const [, file, line] = /([^/\\()\s]+):(\d+):\d+\)?$/.exec(own ?? "") ?? [];
  return `${named(code, handler)} threw ${error}${file ? `, in ${file}:${line}` : ""}`;
}

/** What to return in place of `value`. */
function noVerdict(code, handler, call, value) {
  const said = `${named(code, handler)} returned ${describe(value)}`;
  if (value === undefined && call.made) {
    return `${said}: it made a verdict and did not return it; write \`return call.${call.made}(...)\``;
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    const change = code === 1 ? "call.patch({...}) or call.replace({...})" : "call.respond({...})";
    return `${said}: that is no verdict; return ${change}, or call.proceed() to change nothing`;
  }
  return `${said}: return a verdict, which is one of ${RETURNS.get(code)}`;
}

function toBytes(body) {
  if (body instanceof Uint8Array) return Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  return Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
}

/** The plugin's side of the socket. `config` is the operator's, always the newest. */
export class Plugin {
  #version;
  #configured = () => {};
  #handlers = new Map();
  #socket;
  #input = NOTHING;
  #greeted = false;
  #maxFrame = 1 << 20;
  #maxVerdict = 1 << 20;
  /** Calls whose bodies are still coming, by id. */
  #arriving = new Map();
  /** Calls whose handlers have not answered yet, by id. */
  #running = new Map();

  constructor({ version = "", ...others } = {}) {
    const [unknown] = Object.keys(others);
    if (unknown !== undefined) throw new TypeError(`new Plugin: unknown option "${unknown}"; it takes version`);
    this.#version = version;
    this.config = {};
  }

  /** `handler(call)` answers a client's request before it is routed. */
  onRequest(handler) {
    this.#handlers.set(1, handler);
  }

  /** `handler(call)` answers a failed upstream attempt; see `call.failure`. */
  onError(handler) {
    this.#handlers.set(4, handler);
  }

  /** `handler(config)` runs before the first call and at each change. Throwing refuses the config. */
  onConfigure(handler) {
    this.#configured = handler;
  }

  /** A line in the gateway's log: debug, info, warn or error. */
  log(level, text, fields) {
    if (!LEVELS.includes(level)) throw new TypeError(`level "${level}" is not one of ${LEVELS.join(", ")}`);
    const meta = { level, text: String(text), fields };
    const fits = Buffer.byteLength(JSON.stringify(meta)) <= PART_BYTES;
    this.#send(LOG, 0, 0, 0, fits ? meta : { level, text: meta.text.slice(0, MESSAGE_CHARACTERS) });
  }

  /** Serves the gateway until it says stop or is gone; exits with 1 when it cannot. */
  run() {
    const descriptor = process.env.HOOKWAY_FD;
    if (!descriptor) {
      console.error("this is a Hookway plugin: the gateway starts it, with a socket in HOOKWAY_FD");
      process.exit(1);
    }
    this.#socket = new Socket({ fd: Number(descriptor), readable: true, writable: true });
    this.#socket.on("data", (bytes) => this.#receive(bytes));
    this.#socket.on("close", () => process.exit(0));
    // The gateway went without a word; "close" follows.
    this.#socket.on("error", () => {});
  }

  #receive(bytes) {
    try {
      this.#input = this.#input.length ? Buffer.concat([this.#input, bytes]) : bytes;
      while (this.#input.length >= HEADER_BYTES) {
        const head = this.#head(this.#input);
        const end = HEADER_BYTES + head.length;
        if (this.#input.length < end) return;
        const bodyAt = HEADER_BYTES + head.metaLength;
        const [meta, body] = [this.#input.subarray(HEADER_BYTES, bodyAt), this.#input.subarray(bodyAt, end)];
        this.#input = this.#input.subarray(end);
        this.#take(head, meta, body);
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#giveUp("protocol", error.message, `the gateway broke the protocol: ${error.message}`);
    }
  }

  /** A header, which keeps its rules whatever follows it. */
  #head(bytes) {
    const [length, id] = [bytes.readUInt32LE(0), bytes.readUInt32LE(4)];
    const [type, flags] = [bytes.readUInt8(8), bytes.readUInt8(9)];
    const [code, metaLength] = [bytes.readUInt16LE(10), bytes.readUInt32LE(12)];
    const bodyLength = length - metaLength;
    const good =
      type >= HELLO && type <= LOG && flags < 8 && length <= this.#maxFrame &&
      bodyLength >= 0 && bodyLength <= PART_BYTES && Boolean(flags & BODY) === bodyLength > 0 &&
      (!(flags & UNCHANGED) || (type === RESULT && flags === (END | UNCHANGED) && length === 0)) &&
      !(id ? OF_LINK : OF_CALL).has(type);
    if (good) return { length, id, type, flags, code, metaLength };
    throw new ProtocolError(`bad frame: len ${length}, id ${id}, type ${type}, flags ${flags}, meta_len ${metaLength}`);
  }

  #take({ id, type, flags, code }, meta, body) {
    if (!this.#greeted) {
      if (type !== HELLO) throw new ProtocolError(`type ${type} before HELLO`);
      this.#greeted = true;
      return this.#hello(JSON.parse(meta));
    }
    if (!FROM_GATEWAY.has(type)) throw new ProtocolError(`type ${type} where it must not be`);
    switch (type) {
      case CALL:
        return this.#begin(id, flags, code, JSON.parse(meta), body);
      case DATA:
        return this.#part(id, flags, body);
      case CANCEL:
      case ERROR:
        this.#arriving.delete(id);
        return this.#running.get(id)?.aborter.abort();
      case PING:
        return this.#send(PONG);
      case CONFIGURE:
        return this.#configure(id, JSON.parse(meta).config ?? {});
      case SHUTDOWN:
        return process.exit(0);
      default: // CREDIT, for a whole verdict is granted from the start, and DRAIN: there is nothing to do.
    }
  }

  async #hello(hello) {
    if (!hello.protocols.includes(1)) {
      const text = `the gateway speaks protocols ${hello.protocols}, this plugin 1`;
      return this.#giveUp("version", text, text);
    }
    this.#maxFrame = hello.maxFrame ?? this.#maxFrame;
    this.#maxVerdict = hello.maxVerdictBytes ?? this.#maxVerdict;
    this.config = hello.config ?? {};
    try {
      await this.#configured(this.config);
    } catch (error) {
      return this.#giveUp("error", `config: ${error.message}`, `config: ${error.message}`);
    }
    const served = [...this.#handlers.keys()].map((code) => HOOKS.get(code));
    const hooks = hello.hooks.filter((hook) => served.includes(hook));
    this.#send(READY, 0, 0, 0, { protocol: 1, name: hello.plugin, version: this.#version, hooks });
  }

  /** Says why on the link and on stderr, and ends the process once that is said. */
  #giveUp(word, message, lastWords) {
    console.error(lastWords);
    this.#error(0, word, message);
    this.#socket.end(() => process.exit(1));
  }

  async #configure(id, config) {
    const before = this.config;
    this.config = config;
    try {
      await this.#configured(config);
      this.#send(RESULT, id, END);
    } catch (error) {
      this.config = before;
      this.#error(id, "error", `config: ${error.message}`);
    }
  }

  #begin(id, flags, code, meta, body) {
    if (flags & END) return this.#answer(id, code, new Call(meta, body));
    this.#arriving.set(id, { code, meta, parts: [body], bytes: body.length, granted: CREDIT_BYTES });
  }

  #part(id, flags, body) {
    const call = this.#arriving.get(id);
    if (!call) return; // It was cancelled while this was under way.
    call.parts.push(body);
    call.bytes += body.length;
    if (flags & END) {
      this.#arriving.delete(id);
      this.#answer(id, call.code, new Call(call.meta, Buffer.concat(call.parts)));
    } else if (call.granted < (call.meta.bodyBytes ?? Infinity) && call.granted - call.bytes <= CREDIT_BYTES / 2) {
      this.#send(CREDIT, id, 0, 0, { bytes: CREDIT_BYTES / 2 });
      call.granted += CREDIT_BYTES / 2;
    }
  }

  async #answer(id, code, call) {
    const handler = this.#handlers.get(code);
    if (!handler) return this.#error(id, "unsupported", `hook ${code} is not served`);
    this.#running.set(id, call);
    try {
      const value = await handler(call);
      if (value instanceof Verdict) return this.#result(id, value);
      const message = noVerdict(code, handler, call, value);
      console.error(message);
      this.#error(id, "error", message);
    } catch (error) {
      console.error(error);
      this.#error(id, "error", thrown(code, handler, error));
    } finally {
      this.#running.delete(id);
    }
  }

  #result(id, verdict) {
    if (verdict === NO_CHANGE) return this.#send(RESULT, id, END | UNCHANGED);
    let { meta, body } = verdict;
    let text = Buffer.from(JSON.stringify(meta));
    if (text.length > PART_BYTES && meta.action === "patch") {
      // It may not fit a frame, so the patch travels as the body.
      const { patch, jsonPatch, ...rest } = meta;
      [text, body] = [Buffer.from(JSON.stringify(rest)), toBytes(jsonPatch ?? patch)];
    }
    if (text.length + body.length > this.#maxVerdict || text.length + PART_BYTES > this.#maxFrame) {
      const message = `a verdict of ${text.length + body.length} bytes, the limit is ${this.#maxVerdict}`;
      return this.#error(id, "too_large", message);
    }
    for (let at = 0; at === 0 || at < body.length; at += PART_BYTES) {
      const flags = at + PART_BYTES >= body.length ? END : 0;
      this.#frame(at ? DATA : RESULT, id, flags, 0, at ? NOTHING : text, body.subarray(at, at + PART_BYTES));
    }
  }

  #error(id, word, message) {
    this.#send(ERROR, id, id ? END : 0, ERRORS[word], { code: word, message: message.slice(0, MESSAGE_CHARACTERS) });
  }

  #send(type, id = 0, flags = 0, code = 0, meta = undefined) {
    this.#frame(type, id, flags, code, meta === undefined ? NOTHING : Buffer.from(JSON.stringify(meta)), NOTHING);
  }

  #frame(type, id, flags, code, meta, body) {
    const head = Buffer.alloc(HEADER_BYTES);
    head.writeUInt32LE(meta.length + body.length, 0);
    head.writeUInt32LE(id, 4);
    head.writeUInt8(type, 8);
    head.writeUInt8(flags | (body.length ? BODY : 0), 9);
    head.writeUInt16LE(code, 10);
    head.writeUInt32LE(meta.length, 12);
    this.#socket.write(Buffer.concat([head, meta, body]));
  }
}
