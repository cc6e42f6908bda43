"""Plays both brokers' feeds at a steady rate: ``python -m benchmarks.feed_sender PORT RATE SECONDS``.

Every session is taken. Once a line comes on standard input, RATE ticks a second are sent for SECONDS to whoever subscribed, in
turn over the instruments. Each carries as its volume the microsecond in which it was due, so that time in which the sender had
to wait counts as well. Prints one JSON line about it, and stays until it is ended.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import struct
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import websockets

#: Seconds between two bursts, and packets in one frame.
SLOT, PACKETS_A_FRAME = 0.01, 50
HEADER = struct.Struct("<HHbBBBB")
PICTURE = struct.Struct("<IqqqqqIIIIIqIIIIhiIdiIIIIIBI")
ROW = struct.Struct("<qii")
PAISE = 100_000
HELLO = {"message_code": 1119, "format": "native_batch", "exchanges": {"nse_cm": {"value": 1, "divider": 100}}}
TAKEN = {"ak": "ok", "type": "cn", "task": "cn", "msg": "connected"}
#: No ping is due while anything is measured.
OPENED = {"sid": "1", "upgrades": [], "pingInterval": 600_000, "pingTimeout": 20000, "maxPayload": 10**6}


class Sender:
    def __init__(self) -> None:
        #: What is subscribed to, by the socket it goes to; names as each broker's protocol has them.
        self.wanted: dict[Any, list[str]] = {}
        self._random = random.Random(1)

    async def serve(self, connection: Any) -> None:
        path = urlsplit(connection.request.path).path
        if path == "/socket.io/":
            await self._breeze(connection)
        elif path == "/apifeed":
            await self._kotak(connection)
        else:
            await connection.recv()
            await connection.send(json.dumps(TAKEN))
            await connection.wait_closed()

    async def _kotak(self, connection: Any) -> None:
        await connection.recv()
        await connection.send(json.dumps(HELLO))
        async for text in connection:
            names = json.loads(text)["inputtoken"].split(",")
            await connection.send(json.dumps({"message_code": 1109, "trading_symbols": dict.fromkeys(names, "X-EQ")}))
            self.wanted.setdefault(connection, []).extend(names)

    async def _breeze(self, connection: Any) -> None:
        await connection.send("0" + json.dumps(OPENED))
        await connection.recv()
        await connection.send('40{"sid":"1"}')
        async for text in connection:
            if text.startswith("42"):
                self.wanted.setdefault(connection, []).extend(json.loads(text[2:])[1])

    async def send(self, rate: float, seconds: float) -> dict[str, float]:
        """Send on schedule, however late; returns how many went out, and how late the last one was."""
        (connection, names), *_ = self.wanted.items()
        is_kotak = "|" in names[0]
        began, sent = time.time() + 0.1, 0
        for slot in range(1, round(seconds / SLOT) + 1):
            due = began + slot * SLOT
            await asyncio.sleep(max(0.0, due - time.time()))
            count, stamp = round(slot * SLOT * rate) - sent, int(due * 1e6)
            chosen = [names[(sent + number) % len(names)] for number in range(count)]
            sent += count
            for start in range(0, count, PACKETS_A_FRAME if is_kotak else 1):
                if is_kotak:
                    await connection.send(b"".join(self._packet(name, stamp) for name in chosen[start : start + 50]))
                else:
                    await connection.send(self._event(chosen[start], stamp))
        late = time.time() - (began + seconds)
        return {"sent": sent, "began": began, "ended": time.time(), "late_seconds": max(0.0, late)}

    def _packet(self, name: str, stamp: int) -> bytes:
        token, moved, second = int(name.partition("|")[2]), self._random.randrange(2000), stamp // 1_000_000
        last = PAISE + moved
        body = PICTURE.pack(
            *(token, 500, 600, stamp, second, second, PAISE, PAISE, PAISE + 2500, PAISE - 500, last, 10, last, 0),
            *(1, 1, 0, moved, 0, 0.0, moved, PAISE + 9000, PAISE - 9000, PAISE * 2, PAISE // 2, 1, 2, 1),
        )
        body += ROW.pack(moved + 1, last - 5, 3) + ROW.pack(moved + 2, last + 5, 4)
        return HEADER.pack(HEADER.size + len(body), 7208, 1, 4, 0, 0, 0) + body

    def _event(self, name: str, stamp: int) -> str:
        moved, second = self._random.randrange(2000), stamp // 1_000_000
        last = (PAISE + moved) / 100
        row = [name, 1000, last, 1025, 995, moved, last, moved + 1, last + 0.05, moved + 2, 10, last]
        row += [stamp, 500, 600, "1328.72C", "", 910, 1090, second, 1000]
        return "42" + json.dumps(["stock", row])


async def main(port: int, rate: float, seconds: float) -> None:
    sender = Sender()
    # Neither broker compresses, as far as is known; here it would be the sender's time that is measured.
    async with websockets.serve(sender.serve, "127.0.0.1", port, compression=None, ping_interval=None):
        print(json.dumps({"ready": True}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            if re.match(r"\d+", line):
                wanted = int(line)
                while sum(map(len, sender.wanted.values())) < wanted:
                    await asyncio.sleep(0.05)
                print(json.dumps({"subscribed": wanted}), flush=True)
            else:
                print(json.dumps(await sender.send(rate, seconds)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
