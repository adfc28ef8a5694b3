"""What a hostile agent sends to its door and its gateway: everything but what they are for. Prints what came back."""

import contextlib
import json
import random
import socket
import time

DOOR = "/run/agentcontainer/host.sock"
CHANCE = random.Random(7)
seen: dict[str, int] = {}


def connected(path: str = DOOR) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX)
    opened.settimeout(5)
    opened.connect(path)
    return opened


def say(*pieces: bytes) -> str:
    """The first line that came back."""
    with contextlib.suppress(OSError), connected() as door:
        for piece in pieces:
            door.sendall(piece)
        return door.recv(200).split(b"\r\n")[0].decode("latin-1")
    return "cut"


def count(kind: str, answer: str) -> None:
    seen[f"{kind}: {answer}"] = seen.get(f"{kind}: {answer}", 0) + 1


def post(path: str, body: bytes, more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: host\r\ncontent-length: {len(body)}\r\n{more}\r\n".encode() + body


def noise(size: int) -> bytes:
    return bytes(CHANCE.randrange(256) for _ in range(size))


slow = []
for _ in range(300):  # more connections than a run may have, each half a request
    with contextlib.suppress(OSError):
        slow.append(connected())
        slow[-1].send(b"POST /guest/events HT")
count("held", str(len(slow)))
for each in slow:
    each.close()
for _ in range(150):
    count("noise", say(noise(CHANCE.randrange(1, 2000))))
events = [
    None,
    1,
    "x",
    [],
    {},
    {"type": "settled"},
    {"type": "message", "text": 5},
    {"type": "delta"},
    {"type": "x" * 9999},
    {"type": "pi_exited", "code": "no"},
    {"type": "tool_started", "callId": "a", "tool": "b", "input": "\ud800"},
]
for event in events:
    for seq in (None, -1, 0, 2**70, "1", 1.5, True):
        count("event", say(post("/guest/events", json.dumps({"seq": seq, "event": event}).encode() + b"\n")))
for body in (
    b"[" * 100_000,
    b'{"event":' * 50_000,
    b"\xff" * 1000,
    b"\n" * 10_000,
    b'{"seq":1e999}',
    b"9" * 100_000,
    b"\0",
):
    count("body", say(post("/guest/events", body)))
    count("body", say(post("/guest/outputs", body)))
    count("body", say(post("/guest/hibernate", body)))
count("large", say(post("/guest/events", b"x" * (9 << 20))))
count("head", say(b"GET / HTTP/1.1\r\n", *[b"x: " + b"y" * 60_000 + b"\r\n"] * 50))
CHUNKED = b"transfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n"
count("length", say(b"POST /guest/events HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\nx"))
count("twice", say(b"POST /guest/events HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx"))
count("chunks", say(b"POST /guest/events HTTP/1.1\r\nhost: a\r\n" + CHUNKED))
for path in (
    "/anthropic/../openai/v1/responses",
    "/anthropic//v1/messages",
    "/anthropic/v1/%6dessages",
    "/api/v1/keys",
    "/anthropic/v1/messages/../files",
    "/anthropic/v1/messages;x",
    "/anthropic/v1/messages%00",
    "//host/",
    "/anthropic/v1/messages?x=http://evil.example",
    "*",
    "/anthropic/v1/models",
    "/openai/v1/responses",
    "/guest/inputs/..%2f..%2fsecret.key",
    "/guest/inputs/%2e%2e",
    "/anthropic/v1/files",
):
    count("path", say(post(path, b'{"model":"scripted","messages":[]}')))
    count("path", say(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode()))
injected = "x-api-key: mine\r\nhost: evil.example\r\nx-forwarded-for: 127.0.0.1\r\ntransfer-encoding: identity\r\n"
count("injected", say(post("/anthropic/v1/messages", b'{"model":"other"}', injected)))


def claim(name: str, size: int) -> bytes:
    file = {"path": name, "filename": name, "sizeBytes": size}
    body = {"kind": "finish", "completion": "complete", "message": "m", "files": [file]}
    return post("/guest/outputs", json.dumps(body).encode())


def put(path: str, size: int) -> bytes:
    return f"PUT /guest/outputs/{path} HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n".encode()


count("claim", say(claim("a", 2**60)))
count("claim", say(claim("a" * 10_000, 5)))
for _ in range(30):  # claims that never come true
    with contextlib.suppress(OSError), connected() as door:
        door.sendall(claim("a", 1 << 20))
        answer = door.recv(4000).decode("latin-1")
        if '"id"' in answer:
            id = json.loads(answer[answer.index("{") :])["id"]
            count("short", say(put(f"{id}/0", 9), b"x" * 9))
            count("long", say(put(f"{id}/0", 2 << 20), *[b"x" * (1 << 20)] * 2))
            count("index", say(put(f"{id}/99", 1), b"x"))
            count("early", say(post(f"/guest/outputs/{id}", b"")))
time.sleep(0.1)
print(json.dumps(seen, indent=0))
