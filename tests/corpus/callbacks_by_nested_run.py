"""A load generator runs its async callbacks with asyncio.run(), in sync code that a loop calls.

It was written for a thread of its own. Called where a loop runs it is refused, and each invocation
becomes an error record: no callback ran, no request was sent. Right: give it the thread.
"""

import asyncio
import logging

SOURCE = "https://github.com/awslabs/llmeter/issues/96"
FINDS = ("LS109",)

sent = []


async def before_invoke(payload):
    await asyncio.sleep(0)
    return {**payload, "traced": True}


def invoke_all(payloads):
    records = []
    for payload in payloads:
        try:
            payload = asyncio.run(before_invoke(payload))
            sent.append(payload)
            records.append("ok")
        except Exception as error:
            logging.getLogger("llm").error("no invocation with %s: %s", payload, error)
            records.append("error")
    return records


async def broken():
    return invoke_all([{"prompt": "one"}, {"prompt": "two"}])


async def fixed():
    return await asyncio.to_thread(invoke_all, [{"prompt": "one"}, {"prompt": "two"}])
