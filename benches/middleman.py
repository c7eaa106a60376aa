"""Stands between proxies and PostgreSQL, and lets connections through, slows their logins, or refuses them."""

import asyncio
import statistics
import threading
import time

from contenders import free_port

# The end of a login, as the server says it.
READY = b"Z\0\0\0\5I"


class Middleman:
    """On a port of its own, in a thread of its own."""

    def __init__(self, target):
        self.target = target
        self.port = free_port()
        self.refuses = False
        # Seconds by which logins are held up.
        self.delay = 0.0
        # How long logins took, and when connections came.
        self.logins, self.arrivals = [], []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        start = asyncio.start_server(self.serve, "127.0.0.1", self.port)
        asyncio.run_coroutine_threadsafe(start, self.loop).result()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    def slow(self, times):
        """Logins take so many times what they took so far."""
        self.delay = (times - 1) * statistics.median(self.logins)

    def refuse(self):
        """New connections are closed."""
        self.refuses = True

    def relent(self):
        """All is as in the beginning."""
        self.refuses, self.delay = False, 0.0

    async def serve(self, reader, writer):
        """One connection. PostgreSQL knows of it at once, whatever becomes of it."""
        began = time.time()
        self.arrivals.append(began)
        if self.refuses:
            return writer.transport.abort()
        theirs, ours = await asyncio.open_connection("127.0.0.1", self.target)
        up = asyncio.ensure_future(self.pass_on(reader, ours, self.delay))
        down = asyncio.ensure_future(self.pass_on(theirs, writer, 0, began))
        await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        # What closes its end has no more to hear.
        for one in (up, down):
            one.cancel()
        for one in (ours, writer):
            one.close()

    async def pass_on(self, reader, writer, delay, login=None):
        """One direction."""
        while data := await reader.read(1 << 16):
            if delay:
                await asyncio.sleep(delay)
                delay = 0
            if login and READY in data:
                self.logins.append(time.time() - login)
                login = None
            writer.write(data)
            await writer.drain()
