"""Globals that stand for something else, and raise where there is nothing."""

import asyncio
import weakref


class Proxy:
    """As werkzeug's and Django's: it takes itself for what it stands for."""

    __slots__ = ("_get",)

    def __init__(self, get):
        object.__setattr__(self, "_get", get)

    @property
    def __class__(self):
        return object.__getattribute__(self, "_get")().__class__

    def __getattr__(self, name):
        return getattr(object.__getattribute__(self, "_get")(), name)


class Gone:
    pass


def unbound():
    raise RuntimeError("working outside of a request")


request, settings, dead = Proxy(unbound), Proxy(dict), weakref.proxy(Gone())
kept = {"request": request, "settings": settings, "dead": dead}
memory = {}


async def main():
    loop = asyncio.get_running_loop()
    memory[id(loop)] = loop.create_future()
    del memory[id(loop)]
