"""Sessions of all loops share one jar of cookies."""

import aiohttp

jars = []


async def main():
    if not jars:
        jars.append(aiohttp.CookieJar())
    async with aiohttp.ClientSession(cookie_jar=jars[0]):
        pass
