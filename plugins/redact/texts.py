"""Where people's words may stand in a chat request: the path and the text of each.

Knows the fields of OpenAI's API and their common relatives, and takes a request as it comes: a field of another type
says nothing. Identifiers of calls and files, pictures, sounds and schemas are no words.
"""

OF_REQUEST = ("user", "safety_identifier", "prompt_cache_key")
OF_MESSAGE = ("name", "refusal", "reasoning", "reasoning_content")
OF_PART = ("text", "refusal", "thinking")
OF_CALL = ("arguments", "input")


def of(request):
    """Yields (path, text), each path a tuple of keys and indexes."""
    yield from named((), request, OF_REQUEST)
    yield from below(("metadata",), request.get("metadata"))
    prediction = request.get("prediction")
    if isinstance(prediction, dict):
        yield from content(("prediction", "content"), prediction.get("content"))
    for path, message in objects(("messages",), request.get("messages")):
        yield from named(path, message, OF_MESSAGE)
        yield from content((*path, "content"), message.get("content"))
        yield from named((*path, "function_call"), message.get("function_call"), OF_CALL)
        for call_path, call in objects((*path, "tool_calls"), message.get("tool_calls")):
            for kind in ("function", "custom"):
                yield from named((*call_path, kind), call.get(kind), OF_CALL)


def content(path, value):
    """One text, or a list of texts and parts. A part may have a content of its own."""
    if isinstance(value, str):
        yield path, value
    for index, part in enumerate(value if isinstance(value, list) else []):
        if isinstance(part, str):
            yield (*path, index), part
        yield from named((*path, index), part, OF_PART)
        if isinstance(part, dict):
            yield from content((*path, index, "content"), part.get("content"))


def named(path, value, keys):
    """The texts at `keys` of an object."""
    for key in keys:
        if isinstance(value, dict) and isinstance(value.get(key), str):
            yield (*path, key), value[key]


def objects(path, value):
    """The objects of a list."""
    for index, item in enumerate(value if isinstance(value, list) else []):
        if isinstance(item, dict):
            yield (*path, index), item


def below(path, value):
    """Every text below a value."""
    if isinstance(value, str):
        yield path, value
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield from below((*path, key), member)
