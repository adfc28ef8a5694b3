"""knock.py HOST PORT BUNDLE GREETING: what the port for nodes answers to that certificate ("-": to none)."""

import asyncio
import ssl
import sys


async def main(host: str, port: str, bundle: str, greeting: str) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if bundle != "-":
        context.load_cert_chain(bundle)
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
            writer.write(greeting.encode() + b"\n")
            await writer.drain()
            return (await reader.readline()).decode() or "closed"
    except (ssl.SSLError, ConnectionError) as error:
        return f"closed: {type(error).__name__}"


print(asyncio.run(main(*sys.argv[1:])))
