"""Masks e-mail addresses, phone numbers and payment card numbers in a chat request.

Most requests hold none, so the raw bytes are searched before any JSON is parsed; an unsuspicious body costs one scan
and goes on untouched. What is masked leaves as a JSON patch of those texts alone: everything else in the request,
number forms and unknown fields included, stays as the client wrote it.
"""

import json
import re

import hookway
import sensitive
import texts

KINDS = ("email", "phone", "card")

# For the search of raw bytes: digits become 0, what may stand between digits goes, letters and quotes stay.
DIGITS_TO_ZERO = bytes(ord("0") if byte in b"0123456789" else byte for byte in range(256))
BETWEEN = bytes(byte for byte in range(256) if byte != ord('"') and not (byte < 128 and chr(byte).isalnum()))
FEWEST_DIGITS = b"0" * sensitive.PHONE_DIGITS.start

MOST_OPERATIONS = 1_000  # of one patch
JSON_STRING_OR_NUMBER = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*', re.DOTALL)


class Masker:
    """One config, ready for use."""

    def __init__(self, replacement="***", kinds=KINDS):
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise ValueError(f"kinds: {unknown[0]!r} is not one of {', '.join(KINDS)}")
        self.replacement = replacement
        self.email, self.phone, self.card = (kind in kinds for kind in KINDS)

    def suspects(self, body):
        """Whether the raw body can hold anything to mask. Wrong in one direction only: it may say yes too often."""
        if b"\\u" in body:  # any character may hide in an escape
            return True
        if self.email and b"@" in body:
            return True
        return (self.phone or self.card) and FEWEST_DIGITS in body.translate(DIGITS_TO_ZERO, BETWEEN)

    def operations(self, request):
        """The JSON patch that masks the texts of a request; empty if there is nothing to mask."""
        masked = [(path, new) for path, text in texts.of(request) if (new := self.masked(path, text)) != text]
        if len(masked) > MOST_OPERATIONS:
            for (*above, last), text in masked:
                at(request, above)[last] = text
            masked = [((key,), request[key]) for key in dict.fromkeys(path[0] for path, _ in masked)]
        return [{"op": "replace", "path": pointer(path), "value": value} for path, value in masked]

    def masked(self, path, text):
        return self.mask_json(text) if path[-1] == "arguments" else self.mask(text)

    def mask_json(self, text):
        """Arguments of a tool: JSON, which stays JSON. What is none is masked as any text."""
        try:
            json.loads(text, parse_int=str, parse_float=str)
        except (ValueError, RecursionError):
            return self.mask(text)
        return JSON_STRING_OR_NUMBER.sub(self.mask_json_value, text)

    def mask_json_value(self, match):
        value = json.loads(match[0]) if match[0].startswith('"') else match[0]
        masked = self.mask(value)
        return match[0] if masked == value else json.dumps(masked)

    def mask(self, text):
        if self.email:
            text = self.replace(text, sensitive.emails(text))
        if self.phone or self.card:
            text = self.replace(text, sensitive.numbers(text, card=self.card, phone=self.phone))
        return text

    def replace(self, text, spans):
        pieces, after = [], 0
        for start, end in spans:
            pieces += [text[after:start], self.replacement]
            after = end
        return "".join(pieces) + text[after:] if pieces else text


def pointer(path):
    """RFC 6901."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def at(value, path):
    for step in path:
        value = value[step]
    return value


# The handler never waits, so it runs in the thread that reads.
plugin = hookway.Plugin(version="0.1.0", threads=0)
masker = Masker()


@plugin.on_configure
def configure(config):
    global masker
    masker = Masker(config.get("replacement", "***"), config.get("kinds", KINDS))


@plugin.on_request
def redact(call):
    if not masker.suspects(call.body):
        return call.proceed()
    operations = masker.operations(call.json())
    if not operations:
        return call.proceed()
    return call.json_patch(operations, metadata={"redacted": len(operations)})


if __name__ == "__main__":
    plugin.run()
