import json
import pathlib
import sys
import unittest

PLUGINS = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(PLUGINS / "rescue"), str(PLUGINS / "sdk" / "python")]

import hookway  # noqa: E402
import rescue  # noqa: E402


def ask(config=None, **failure):
    """The verdict on a failed attempt: its meta and body."""
    rescue.plugin.config = config or {}
    rescue.check(rescue.plugin.config)
    failure = {"cause": "5xx", "upstream": "openai", "bytesSent": 0, "willRetry": False} | failure
    meta = {"hook": "onError", "requestId": "r1", "model": "gpt-4o", **failure}
    return rescue.rescue(hookway.Call(1, 4, meta, b""))


class Rescue(unittest.TestCase):
    def test_the_last_failure_is_answered_with_a_chat_completion(self):
        meta, body = ask({"message": "Back soon."})
        answer = json.loads(body)
        self.assertEqual((meta["action"], meta["status"], meta["metadata"]), ("respond", 200, {"rescued": "5xx"}))
        self.assertEqual((answer["object"], answer["model"]), ("chat.completion", "gpt-4o"))
        self.assertEqual(answer["choices"][0]["message"]["content"], "Back soon.")
        self.assertEqual(answer["choices"][0]["finish_reason"], "stop")

    def test_a_failure_of_others_concern_goes_on(self):
        for config, failure in (
            ({}, {"willRetry": True}),
            ({}, {"bytesSent": 1}),
            ({"on": ["timeout"]}, {"cause": "429"}),
            ({"action": "fallback", "upstream": "backup"}, {"upstream": "backup"}),
            ({"action": "fallback", "model": "gpt-4o"}, {}),
        ):
            self.assertEqual(ask(config, **failure), hookway.UNCHANGED_VERDICT, (config, failure))

    def test_a_fallback_goes_where_the_config_says(self):
        config = {"action": "fallback", "upstream": "backup", "model": "small", "on": ["429"]}
        meta, body = ask(config, cause="429")
        self.assertEqual((meta["action"], meta["route"]), ("fallback", {"model": "small", "upstream": "backup"}))
        self.assertEqual(body, b"")

    def test_a_config_that_makes_no_sense_is_refused(self):
        for config, why in (
            ({"on": ["500"]}, "on: '500' is not one of connect, tls,"),
            ({"action": "fallback"}, "needs an upstream, a model, or both"),
        ):
            with self.assertRaisesRegex(ValueError, why):
                ask(config)

    def test_the_schema_tells_the_same_defaults_as_the_code(self):
        manifest = json.loads((PLUGINS / "rescue" / "plugin.json").read_text())
        properties = manifest["configSchema"]["properties"]
        self.assertEqual(properties["message"]["default"], rescue.MESSAGE)
        self.assertEqual(properties["on"]["default"], list(rescue.CAUSES))


if __name__ == "__main__":
    unittest.main()
