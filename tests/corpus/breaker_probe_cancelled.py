"""A circuit breaker lets one call through to try the service, and stays half open for ever.

The loop's end cancels the trial. That is no `Exception`, so neither success nor failure is
recorded: the breaker stays half open, and every call of every later loop is refused, although the
service is well again. Right: whoever is cancelled gives its trial back.
"""

import asyncio

SOURCE = "https://github.com/wshobson/maverick-mcp/issues/272"
FINDS = ("LS207",)


class CircuitOpenError(Exception):
    pass


class Breaker:
    def __init__(self):
        self.state = "open"  # the service has failed before, and enough time has passed

    async def call(self, service):
        if self.state == "half_open":
            raise CircuitOpenError
        self.state = "half_open"
        try:
            answer = await service()
        except Exception:
            self.state = "open"
            raise
        self.state = "closed"
        return answer

    async def call_and_give_back(self, service):
        if self.state == "half_open":
            raise CircuitOpenError
        self.state = "half_open"
        try:
            return await service()
        finally:
            self.state = "closed"


async def slow_service():
    await asyncio.sleep(60)


async def refresh(call):
    try:
        await call(slow_service)
    except CircuitOpenError:
        return


breaker = Breaker()


async def broken():
    asyncio.create_task(refresh(breaker.call))
    await asyncio.sleep(0)


async def fixed():
    trial = asyncio.create_task(refresh(breaker.call_and_give_back))
    await asyncio.sleep(0)
    trial.cancel()
    await asyncio.wait([trial])
