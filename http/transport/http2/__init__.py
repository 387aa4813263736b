"""HTTP/2: a connection as a pure object (bytes in, calls of stream handlers, bytes out), and its asyncio driver."""
