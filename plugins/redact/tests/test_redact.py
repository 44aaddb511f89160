import json
import pathlib
import sys
import time
import unittest

PLUGINS = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(PLUGINS / "redact"), str(PLUGINS / "sdk" / "python")]

import hookway  # noqa: E402
import redact  # noqa: E402


def ask(request):
    """The plugin's verdict on a request: its JSON patch, or None."""
    body = request if isinstance(request, bytes) else hookway.to_json(request)
    meta, _ = redact.redact(hookway.Call(1, 1, b"{}", body))
    return meta.get("jsonPatch")


def chat(*contents):
    return {"model": "m", "messages": [{"role": "user", "content": content} for content in contents]}


class Masking(unittest.TestCase):
    def setUp(self):
        redact.configure({})

    def test_what_is_masked(self):
        cases = {
            "mail ada@example.com now": "mail *** now",
            "<Ada.L+x@mail.example.co.uk>": "<***>",
            "j\u00fcrgen@b\u00fccher.example": "***",
            "a@b.example,c@d.example": "***,***",
            "call +49 30 1234567.": "call ***.",
            "call +1 (415) 555-2671!": "call ***!",
            "0049 170 123 45 67": "***",
            "(030) 1234567 or 030/123 45 67": "*** or ***",
            "01711234567": "***",
            "01 23 45 67 89, 01.23.45.67.89": "***, ***",
            "020 7946 0958": "***",
            "415-555-2671 (415) 555-2671 415.555.2671": "*** *** ***",
            "+49\u00a030\u00a01234567": "***",
            "+49 30\u20111234567": "***",
            "4111 1111 1111 1111": "***",
            "4111111111111111,": "***,",
            "3782-822463-10005": "***",
            "in 2024 4111 1111 1111 1111 123": "in 2024 *** 123",
            "4111 1111 1111 1111 5500 0000 0000 0004": "*** ***",
        }
        for text, masked in cases.items():
            self.assertEqual(redact.masker.mask(text), masked, text)

    def test_what_is_left_alone(self):
        for text in (
            "user@host",
            "@everyone",
            "a @ b.example",
            "4111 1111 1111 1112",
            "order 12345678",
            "1700000000",
            "2024-05-12 10:30:00",
            "01.02.2024 10:30",
            "192.168.100.200",
            "1,000,000,000",
            "3.14159265358979",
            "555-1234",
            "550e8400-e29b-41d4-a716-446655440000",
            "c1111-0301234567",
        ):
            self.assertEqual(redact.masker.mask(text), text, text)

    def test_time_grows_with_the_text_and_no_faster(self):
        numbers = ["1 " * 200_000, "0" * 400_000, "030 " + "0" * 400_000 + "a", "4111 1111 1111 1111 " * 20_000]
        addresses = ["a" * 400_000 + "@", "a." * 200_000 + "@a", "a@" + "b." * 200_000, "a@" * 200_000]
        for text in [*numbers, *addresses, "+" * 400_000, "(" * 400_000]:
            began = time.process_time()
            redact.masker.mask(text)
            self.assertLess(time.process_time() - began, 5, text[:10])


class Requests(unittest.TestCase):
    def setUp(self):
        redact.configure({})

    def test_texts_are_patched_each_at_its_place(self):
        request = {
            "model": "ada@example.com",
            "user": "ada@example.com",
            "safety_identifier": "+49 30 1234567",
            "metadata": {"a/b~c": "ada@example.com", "n": 1, "deep": [{"x": "bob@example.com"}]},
            "prediction": {"type": "content", "content": [{"type": "text", "text": "eve@example.com"}]},
            "messages": [
                {"role": "system", "content": "You are ada@example.com"},
                {"role": "user", "content": "nothing here", "name": "01711234567"},
                {"role": "assistant", "content": None, "refusal": "no, ada@example.com", "tool_calls": None},
                {"role": "tool", "content": "4111111111111111", "tool_call_id": "01711234567"},
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "https://ada@example.com/x.png"}, "text": None},
                        {"type": "text", "text": "ring +49 30 1234567"},
                        "or +49 30 7654321",
                        {"type": "tool_result", "content": [{"type": "text", "text": "ada@example.com"}]},
                        7,
                    ],
                },
            ],
        }
        self.assertEqual(
            {operation["path"]: operation["value"] for operation in ask(request)},
            {
                "/user": "***",
                "/safety_identifier": "***",
                "/metadata/a~1b~0c": "***",
                "/metadata/deep/0/x": "***",
                "/prediction/content/0/text": "***",
                "/messages/0/content": "You are ***",
                "/messages/1/name": "***",
                "/messages/2/refusal": "no, ***",
                "/messages/3/content": "***",
                "/messages/4/content/1/text": "ring ***",
                "/messages/4/content/2": "or ***",
                "/messages/4/content/3/content/0/text": "***",
            },
        )

    def test_every_patch_lies_where_the_manifest_lets_it(self):
        manifest = json.loads((PLUGINS / "redact" / "plugin.json").read_text())
        allowed = manifest["hooks"]["onRequest"]["mutates"]
        for key in ("messages", *redact.texts.OF_REQUEST, "metadata", "prediction"):
            self.assertIn(f"/{key}", allowed)

    def test_arguments_of_tools_stay_json(self):
        for arguments, masked in (
            ('{"to": "ada@example.com", "n": 1.50}', '{"to": "***", "n": 1.50}'),
            ('{"to":"ada\\u0040example.com","ada@example.com":"\\"x"}', '{"to":"***","***":"\\"x"}'),
            ('{"card": 4111111111111111}', '{"card": "***"}'),
            ('{"n": %s, "to": "a@b.example"}' % ("7" * 5000), '{"n": %s, "to": "***"}' % ("7" * 5000)),
            ("[" * 100_000, None),
            ("not JSON: ada@example.com", "not JSON: ***"),
        ):
            for call in (
                {"tool_calls": [{"function": {"name": "f", "arguments": arguments}}]},
                {"function_call": {"arguments": arguments}},
            ):
                patch = ask({"messages": [{"role": "user", "content": "x@y.example"}, {"role": "assistant", **call}]})
                self.assertEqual([op["value"] for op in patch[1:]], [masked] if masked else [], arguments[:50])

    def test_numbers_of_any_size_are_no_error(self):
        body = b'{"seed":%s,"messages":[{"content":"ada@example.com"}]}' % (b"9" * 5000)
        self.assertEqual(ask(body), [{"op": "replace", "path": "/messages/0/content", "value": "***"}])

    def test_more_texts_than_a_patch_has_operations_are_masked_together(self):
        request = chat(*["ada@example.com"] * 1_500) | {"user": "ada@example.com", "seed": 1}
        patch = ask(request)
        self.assertEqual([operation["path"] for operation in patch], ["/user", "/messages"])
        self.assertEqual({message["content"] for message in patch[1]["value"]}, {"***"})

    def test_a_request_of_other_types_is_no_error(self):
        odd = [None, 7, "a@b.example", [], {}, [None, 7, "x", [[]]], {"content": 7}]
        for value in odd:
            for key in ("messages", "metadata", "prediction", "user"):
                ask({key: value, "x": "a@b.example"})
            for key in ("content", "name", "tool_calls", "function_call", "refusal"):
                ask({"messages": [{"role": "user", key: value}], "x": "a@b.example"})
            ask({"messages": [{"tool_calls": [value, {"function": value, "custom": value}], "content": [value]}]})

    def test_a_request_with_nothing_to_mask_goes_on_untouched(self):
        for request in (chat("hello"), chat("2+2=4, mail me @home"), {"messages": "odd"}, {"messages": [1, None]}, {}):
            self.assertIsNone(ask(request), request)

    def test_escapes_hide_nothing(self):
        for text in (
            "ada\\u0040example.com",
            "\\u002b49 30 1234567",
            "+49 3\\u0030 1\\u00323 4567",
            "+49\\u00a030\\u20111234567",
        ):
            body = f'{{"messages":[{{"content":"{text}"}}]}}'.encode()
            self.assertEqual(ask(body), [{"op": "replace", "path": "/messages/0/content", "value": "***"}], text)

    def test_the_search_of_raw_bytes_finds_whatever_the_mask_would(self):
        for text in ("+49 30 1234567", "01 23 45 67 89", "(415) 555-2671", "+1 (415) 555-2671", "4111 1111 1111 1111"):
            for spaced in (text, text.replace(" ", "\u00a0"), text.replace("-", "\u2011"), text.replace("-", "/")):
                if redact.masker.mask(spaced) == spaced:
                    continue
                for ascii_only in (True, False):
                    body = json.dumps(chat(spaced), ensure_ascii=ascii_only).encode()
                    self.assertTrue(redact.masker.suspects(body), body)

    def test_config_chooses_kinds_and_replacement(self):
        redact.configure({"kinds": ["email"], "replacement": "[gone]"})
        text = "ada@example.com or +49 30 1234567"
        self.assertEqual(ask(chat(text))[0]["value"], "[gone] or +49 30 1234567")
        with self.assertRaisesRegex(ValueError, "kinds: 'ssn' is not one of email, phone, card"):
            redact.configure({"kinds": ["ssn"]})

    def test_half_a_surrogate_pair_survives(self):
        body = b'{"messages":[{"content":"\\ud83d ada@example.com"}]}'
        self.assertEqual(hookway.to_json(ask(body)[0]["value"]), b'"\\ud83d ***"')


if __name__ == "__main__":
    unittest.main()
