"""A sync browser driver runs its loop in a greenlet, and the thread counts as running it meanwhile.

Between two calls of the driver nothing of that loop is on the stack, and yet asyncio.run() is
refused in the whole thread. Here the clean-up of test data is lost so, behind a net. Right: run it
where no such loop is open, or in a thread of its own.
"""

import asyncio
import logging
import threading

import greenlet

SOURCE = "https://github.com/microsoft/playwright-python/issues/2628"
FINDS = ("LS109",)

removed = []


class SyncBrowser:
    """As sync_playwright() does it: start() returns in the middle of run_until_complete()."""

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.stopped = False
        self.caller = greenlet.getcurrent()
        self.dispatcher = greenlet.greenlet(self.dispatch)
        self.dispatcher.switch()
        return self

    def dispatch(self):
        self.loop.run_until_complete(self.serve())
        self.loop.close()

    async def serve(self):
        while not self.stopped:
            self.caller.switch()
            await asyncio.sleep(0)

    def click(self):
        self.dispatcher.switch()

    def __exit__(self, *_):
        self.stopped = True
        self.dispatcher.switch()


async def remove_test_data():
    await asyncio.sleep(0)
    removed.append(1)


def broken():
    with SyncBrowser() as browser:
        browser.click()
        try:
            asyncio.run(remove_test_data())
        except Exception:
            logging.getLogger("e2e").warning("test data was not removed", exc_info=True)


def fixed():
    with SyncBrowser() as browser:
        browser.click()
        thread = threading.Thread(target=asyncio.run, args=(remove_test_data(),))
        thread.start()
        thread.join()
    assert removed
