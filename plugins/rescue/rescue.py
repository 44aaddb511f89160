"""When no attempt at a model is left, answers in its place or sends the request elsewhere, instead of an error."""

import time

import hookway

CAUSES = ("connect", "tls", "timeout", "429", "5xx", "cut", "breaker_open")
MESSAGE = "The model is not available right now. Please try again in a few minutes."

plugin = hookway.Plugin(version="0.1.0")


@plugin.on_configure
def check(config):
    unknown = [cause for cause in config.get("on", CAUSES) if cause not in CAUSES]
    if unknown:
        raise ValueError(f"on: {unknown[0]!r} is not one of {', '.join(CAUSES)}")
    if config.get("action") == "fallback" and not (config.get("upstream") or config.get("model")):
        raise ValueError("action fallback needs an upstream, a model, or both")


@plugin.on_error
def rescue(call):
    config, failure = plugin.config, call.failure
    if failure.willRetry or failure.bytesSent or failure.cause not in config.get("on", CAUSES):
        return call.proceed()
    if config.get("action", "answer") == "answer":
        answer = completion(call, config.get("message", MESSAGE))
        return call.respond(answer, metadata={"rescued": failure.cause})
    upstream, model = config.get("upstream"), config.get("model")
    if failure.upstream == upstream or upstream is None and call.model == model:
        return call.proceed()  # elsewhere failed too
    return call.fallback(upstream=upstream, model=model, metadata={"rescued": failure.cause})


def completion(call, text):
    """A whole chat completion; the gateway makes a stream of it for a client that asked for one."""
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": f"chatcmpl-rescue-{call.request_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": call.model or "rescue",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


if __name__ == "__main__":
    plugin.run()
