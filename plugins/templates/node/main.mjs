// Puts a replacement where a message says a word; everything else in the request goes on untouched.

import { Plugin } from "./hookway.mjs";

const plugin = new Plugin({ version: "0.1.0" });
let settings;

plugin.onConfigure((config) => {
  settings = { word: "swordfish", replacement: "***", ...config };
  if (settings.word === "") throw new Error("word must not be empty");
});

plugin.onRequest((call) => {
  const operations = [];
  call.json().messages?.forEach(({ content }, index) => {
    if (typeof content === "string" && content.includes(settings.word)) {
      const value = content.replaceAll(settings.word, settings.replacement);
      operations.push({ op: "replace", path: `/messages/${index}/content`, value });
    }
  });
  return operations.length ? call.jsonPatch(operations, { metadata: { replaced: operations.length } }) : call.proceed();
});

plugin.run();
