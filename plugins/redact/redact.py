"""Masks e-mail addresses, phone numbers and payment card numbers in the messages of a chat.

Most requests hold none, so the raw bytes are searched before any JSON is parsed; an unsuspicious body costs one scan
and goes on untouched. What is masked leaves as a JSON patch of those texts alone: everything else in the request,
number forms and unknown fields included, stays as the client wrote it.
"""

import hookway
import sensitive

KINDS = ("email", "phone", "card")

# For the search of raw bytes: digits become 0, what may stand between digits goes, letters and quotes stay.
DIGITS_TO_ZERO = bytes(ord("0") if byte in b"0123456789" else byte for byte in range(256))
BETWEEN = bytes(byte for byte in range(256) if byte != ord('"') and not (byte < 128 and chr(byte).isalnum()))
FEWEST_DIGITS = b"0" * sensitive.PHONE_DIGITS.start


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
        """The JSON patch that masks the texts of a request's messages; empty if there is nothing to mask."""
        messages = request.get("messages")
        for index, message in enumerate(messages if isinstance(messages, list) else []):
            content = message.get("content") if isinstance(message, dict) else None
            at = f"/messages/{index}/content"
            if isinstance(content, str):
                yield from self.operation(at, content)
            for part_index, part in enumerate(content if isinstance(content, list) else []):
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    yield from self.operation(f"{at}/{part_index}/text", part["text"])

    def operation(self, path, text):
        masked = self.mask(text)
        if masked != text:
            yield {"op": "replace", "path": path, "value": masked}

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


plugin = hookway.Plugin(version="0.1.0")
masker = Masker()


@plugin.on_configure
def configure(config):
    global masker
    masker = Masker(config.get("replacement", "***"), config.get("kinds", KINDS))


@plugin.on_request
def redact(call):
    if not masker.suspects(call.body):
        return call.proceed()
    operations = list(masker.operations(call.json()))
    if not operations:
        return call.proceed()
    return call.json_patch(operations, metadata={"redacted": len(operations)})


if __name__ == "__main__":
    plugin.run()
