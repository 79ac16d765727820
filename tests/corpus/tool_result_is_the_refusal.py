"""An agent's sync wrapper runs an async tool, and hands the refusal to the model as its answer.

From a script it works. From an async flow the tool never ran, and the text of the error looks like
what it said. Right: run the coroutine in a thread where a loop runs already.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

SOURCE = "https://github.com/crewAIInc/crewAI/issues/7235"
FINDS = ("LS109",)


async def search(query):
    await asyncio.sleep(0)
    return f"results for {query}"


class Tool:
    def __init__(self, function):
        self.function = function

    def run(self, **arguments):
        result = self.function(**arguments)
        if asyncio.iscoroutine(result):
            result = asyncio.run(result)
        return result


class ToolWrapper(Tool):
    def run(self, **arguments):
        try:
            return super().run(**arguments)
        except Exception as error:
            return f"Error executing tool: {error}"


class FixedTool(Tool):
    def run(self, **arguments):
        result = self.function(**arguments)
        if not asyncio.iscoroutine(result):
            return result
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(result)
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, result).result()


async def broken():
    return ToolWrapper(search).run(query="loops")


async def fixed():
    return FixedTool(search).run(query="loops")
