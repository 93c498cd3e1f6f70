"""The WSGI side (PEP 3333): a request becomes an environ, an iterable becomes a response.

No asyncio and no sockets here: everything runs in a worker thread, against the small `Sink`
and `BodySource` interfaces that `aserve.server` implements.
"""
