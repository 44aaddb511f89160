"""OpenAI's official Python client, changed in nothing but its base_url, talks to the gateway as to the API."""

import asyncio
import base64
import pathlib
import sys
import unittest

import openai

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from scene import scene

PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(2000)).decode()
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def user(content):
    return [{"role": "user", "content": content}]


class Client(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.gateway, cls.upstream = cls.enterClassContext(scene())
        cls.client = cls.enterClassContext(openai.OpenAI(base_url=f"{cls.gateway.url}/v1", api_key="sk-test"))

    def ask(self, content, model="echo", **options):
        return self.client.chat.completions.create(model=model, messages=user(content), **options)

    def stream(self, content, model="echo", **options):
        return list(self.ask(content, model, stream=True, **options))

    def refused(self, kind, content="hi", model="echo", **options):
        """The error that the call raises, which has to be of exactly this class."""
        with self.assertRaises(kind) as raised:
            answer = self.ask(content, model, **options)
            if options.get("stream"):
                list(answer)
        self.assertIs(type(raised.exception), kind)
        return raised.exception

    def asked_of_upstream(self, model, call):
        """How many requests for `model` reach the upstream while `call` runs."""
        before = self.upstream.asked(model)
        call()
        return self.upstream.asked(model) - before


def said(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


class Answers(Client):
    def test_a_completion_is_whole(self):
        answer = self.ask("Good morning!")
        self.assertEqual(answer.choices[0].message.content, "Good morning!")
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_both_ids_reach_the_client(self):
        raw = self.client.chat.completions.with_raw_response.create(model="scripted", messages=user("hi"))
        self.assertRegex(raw.headers["x-hookway-request-id"], "^[0-9a-f]{32}$")
        self.assertEqual(raw.parse()._request_id, "req_scripted")

    def test_a_stream_comes_in_parts_and_ends(self):
        chunks = self.stream("one two three")
        self.assertEqual(said(chunks), "one two three")
        self.assertGreater(len(chunks), 3)
        self.assertEqual(chunks[-1].choices[0].finish_reason, "stop")
        self.assertTrue(all(chunk.usage is None for chunk in chunks))

    def test_a_stream_tells_usage_in_its_last_chunk_if_asked(self):
        *chunks, last = self.stream("one two three", stream_options={"include_usage": True})
        self.assertEqual(last.choices, [])
        self.assertEqual((last.usage.prompt_tokens, last.usage.completion_tokens), (3, 3))
        self.assertEqual(said(chunks), "one two three")

    def test_a_tool_is_called_and_its_result_taken(self):
        asked = user("please call get_weather for Oslo")
        first = self.client.chat.completions.create(model="echo", messages=asked, tools=[WEATHER])
        [call] = first.choices[0].message.tool_calls
        self.assertEqual((call.function.name, first.choices[0].finish_reason), ("get_weather", "tool_calls"))
        self.assertIn("city", call.function.arguments)
        result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        history = [*asked, first.choices[0].message.to_dict(), result]
        second = self.client.chat.completions.create(model="echo", messages=history, tools=[WEATHER])
        self.assertEqual(second.choices[0].message.content, "sunny")

    def test_a_tool_call_is_streamed(self):
        chunks = self.stream("call get_weather", tools=[WEATHER])
        deltas = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
        self.assertEqual(deltas[0].function.name, "get_weather")
        self.assertIn('"city"', "".join(delta.function.arguments or "" for delta in deltas))

    def test_image_parts_pass(self):
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
        answer = self.ask([{"type": "text", "text": "What is this?"}, image])
        self.assertEqual(answer.choices[0].message.content, "What is this?\n[image]")

    def test_a_prompt_of_5_mb_passes_every_plugin(self):
        prompt = "lorem ipsum dolor " * (5_000_000 // 18)
        self.assertEqual(self.ask(prompt).choices[0].message.content, prompt)

    def test_what_a_prompt_must_not_tell_is_masked_before_the_upstream(self):
        answer = self.ask("Write to ann@example.com or call +49 30 1234567.")
        self.assertEqual(answer.choices[0].message.content, "Write to *** or call ***.")

    def test_models_of_all_upstreams_are_one_list(self):
        self.assertEqual({model.id for model in self.client.models.list()}, {"echo", "scripted"})
        self.assertEqual(self.client.models.retrieve("scripted").owned_by, "tests")

    def test_an_unknown_model_is_not_found(self):
        with self.assertRaises(openai.NotFoundError) as raised:
            self.client.models.retrieve("no-such-model")
        self.assertEqual(raised.exception.code, "model_not_found")

    def test_embeddings_pass_as_floats_and_as_the_clients_own_base64(self):
        for options in ({"encoding_format": "float"}, {}):
            answer = self.client.embeddings.create(model="scripted", input="hi", **options)
            self.assertEqual(answer.data[0].embedding, [0.5, -0.25, 1.0], options)

    def test_the_paths_without_v1_work_too(self):
        with openai.OpenAI(base_url=self.gateway.url, api_key="sk-test") as client:
            answer = client.chat.completions.create(model="echo", messages=user("hi"))
        self.assertEqual(answer.choices[0].message.content, "hi")


class Refusals(Client):
    def test_a_refused_prompt_raises_the_class_of_its_status(self):
        for options in ({}, {"stream": True}):
            error = self.refused(openai.BadRequestError, "Tell me the launch codes", **options)
            self.assertEqual((error.status_code, error.code), (400, "no_secrets"))
            self.assertEqual(error.body["message"], "We do not talk about those.")
            self.assertEqual(error.type, "invalid_request_error")
            self.assertEqual(error.response.headers["x-hookway-plugin"], "guard")

    def test_a_refused_prompt_reaches_no_upstream(self):
        call = lambda: self.refused(openai.BadRequestError, "the launch codes", "scripted")
        self.assertEqual(self.asked_of_upstream("scripted", call), 0)

    def test_what_the_gateway_refuses_itself_has_openais_form(self):
        error = self.refused(openai.BadRequestError, extra_body={"model": None})
        self.assertEqual((error.param, error.type), ("model", "invalid_request_error"))
        with self.assertRaises(openai.NotFoundError) as raised:
            self.client.get("/../nothing", cast_to=object)
        self.assertTrue(raised.exception.body["message"])


class Failures(Client):
    def test_an_upstreams_status_keeps_its_class_and_text_and_is_tried_as_the_route_says(self):
        classes = {
            "status-401": (openai.AuthenticationError, 1),
            "status-404": (openai.NotFoundError, 1),
            "status-422": (openai.UnprocessableEntityError, 1),
            "status-429": (openai.RateLimitError, 2),
            "status-500": (openai.InternalServerError, 2),
            "status-503": (openai.InternalServerError, 2),
        }
        for model, (kind, times) in classes.items():
            for options in ({}, {"stream": True}):
                with self.subTest(model, **options):
                    call = lambda: self.assert_scripted(self.refused(kind, model=model, **options), model)
                    # Were the client to retry as well, there would be three times as many.
                    self.assertEqual(self.asked_of_upstream(model, call), times)

    def assert_scripted(self, error, model):
        self.assertEqual((error.code, error.body["message"]), ("scripted", f"{model} was asked for"))

    def test_an_upstream_that_does_not_answer_is_a_timeout_of_the_gateway(self):
        errors = []
        call = lambda: errors.append(self.refused(openai.InternalServerError, model="slow"))
        self.assertEqual(self.asked_of_upstream("slow", call), 2)
        self.assertEqual((errors[0].status_code, errors[0].code), (504, "upstream_failed"))

    def test_a_stream_that_breaks_off_raises_instead_of_ending(self):
        parts = []
        with self.assertRaises(openai.APIError) as raised:
            for chunk in self.ask("hi", "cut", stream=True):
                parts.append(chunk)
        self.assertEqual(said(parts), "hel")
        self.assertEqual(raised.exception.code, "upstream_failed")

    def test_rescue_answers_in_the_place_of_an_upstream_that_is_gone(self):
        self.assertEqual(self.ask("hi", "gone").choices[0].message.content, "Back in a minute.")

    def test_rescue_answers_a_stream_as_a_stream(self):
        chunks = self.stream("hi", "gone", stream_options={"include_usage": True})
        self.assertEqual(said(chunks), "Back in a minute.")
        self.assertEqual(chunks[-1].usage.total_tokens, 0)


class AsyncAnswers(Client):
    def test_the_async_client_leaves_a_stream_early_and_is_served_again(self):
        async def leave_and_return():
            async with openai.AsyncOpenAI(base_url=f"{self.gateway.url}/v1", api_key="sk-test") as client:
                create = client.chat.completions.create
                stream = await create(model="echo", messages=user("one two three"), stream=True)
                async for chunk in stream:
                    if chunk.choices[0].delta.content:
                        break
                await stream.close()
                return await create(model="echo", messages=user("still there?"))

        answer = asyncio.run(leave_and_return())
        self.assertEqual(answer.choices[0].message.content, "still there?")


if __name__ == "__main__":
    unittest.main()
