"""Puts a replacement where a message says a word; everything else in the request goes on untouched."""

import hookway

plugin = hookway.Plugin(version="0.1.0")
settings = {}


@plugin.on_configure
def configure(config):
    global settings
    checked = {"word": "swordfish", "replacement": "***"} | config
    if not checked["word"]:
        raise ValueError("word must not be empty")
    settings = checked  # set as a whole, for handlers of other threads read it


@plugin.on_request
def replace(call):
    word, replacement = settings["word"], settings["replacement"]
    operations = [
        {"op": "replace", "path": path, "value": text.replace(word, replacement)}
        for path, text in texts(call.json().get("messages", []))
        if word in text
    ]
    if not operations:
        return call.proceed()
    return call.json_patch(operations, metadata={"replaced": len(operations)})


def texts(messages):
    """The texts of messages and their places. The content of a message is a text, a list of parts, or null."""
    for index, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, str):
            yield f"/messages/{index}/content", content
        elif isinstance(content, list):
            for at, part in enumerate(content):
                if part.get("type") == "text":
                    yield f"/messages/{index}/content/{at}/text", part["text"]


plugin.run()
