"""Puts a replacement where a message says a word; everything else in the request goes on untouched."""

import hookway

plugin = hookway.Plugin(version="0.1.0")
settings = {}


@plugin.on_configure
def configure(config):
    settings.update({"word": "swordfish", "replacement": "***"} | config)
    if not settings["word"]:
        raise ValueError("word must not be empty")


@plugin.on_request
def replace(call):
    operations = []
    for index, message in enumerate(call.json().get("messages", [])):
        content = message.get("content")
        if isinstance(content, str) and settings["word"] in content:
            value = content.replace(settings["word"], settings["replacement"])
            operations.append({"op": "replace", "path": f"/messages/{index}/content", "value": value})
    return call.json_patch(operations, metadata={"replaced": len(operations)}) if operations else call.proceed()


plugin.run()
