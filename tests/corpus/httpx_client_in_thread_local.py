"""A remedy for a client that all loops share: one for each thread, in a threading.local.

A thread of a pool runs one asyncio.run() after another, and each has a loop of its own: the second
finds the thread's client with the first one's connections in it. Right: a client for the run,
closed in it.
"""

import asyncio
import http.server
import socketserver
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx

SOURCE = "https://github.com/langchain-ai/langchain/pull/35888"
FINDS = ("LS103",)


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections alive
    wbufsize = -1

    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer)
server.daemon_threads = True
server.handle_error = lambda *args: None  # a client that is gone
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_address[1]}/"

pool = ThreadPoolExecutor(1)
local = threading.local()


def client_of_thread():
    if not hasattr(local, "client"):
        local.client = httpx.AsyncClient(base_url=URL)
    return local.client


async def ask_with_threads_client():
    try:
        return (await client_of_thread().get("/")).status_code
    except RuntimeError:
        return None


async def ask():
    async with httpx.AsyncClient(base_url=URL) as client:
        return (await client.get("/")).status_code


def broken():
    return pool.submit(lambda: asyncio.run(ask_with_threads_client())).result()


def fixed():
    return pool.submit(lambda: asyncio.run(ask())).result()
