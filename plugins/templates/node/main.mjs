// Puts a replacement where a message says a word; everything else in the request goes on untouched.

import { Plugin } from "./hookway.mjs";

const plugin = new Plugin({ version: "0.1.0" });
let settings;

plugin.onConfigure((config) => {
  settings = { word: "swordfish", replacement: "***", ...config };
  if (settings.word === "") throw new Error("word must not be empty");
});

plugin.onRequest(function replace(call) {
  const { word, replacement } = settings;
  const operations = texts(call.json().messages ?? [])
    .filter(({ text }) => text.includes(word))
    .map(({ path, text }) => ({ op: "replace", path, value: text.replaceAll(word, replacement) }));
  return operations.length ? call.jsonPatch(operations, { metadata: { replaced: operations.length } }) : call.proceed();
});

/** The texts of messages and their places. The content of a message is a text, a list of parts, or null. */
function texts(messages) {
  return messages.flatMap(({ content }, index) => {
    const path = `/messages/${index}/content`;
    if (typeof content === "string") return [{ path, text: content }];
    const parts = Array.isArray(content) ? content : [];
    return parts.flatMap(({ type, text }, at) => (type === "text" ? [{ path: `${path}/${at}/text`, text }] : []));
  });
}

plugin.run();
