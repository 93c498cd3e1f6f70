"""The reloader: a supervisor that keeps the sockets, and a process per generation of the app.

`machine` decides, `supervisor` acts, `watch` sees what changes, `channel` connects the processes,
`source` loads the user's modules in the child, `page` answers while nothing can be served. The
supervisor never imports the user's code, nor the engine that serves it.
"""
