"""The web server: gunicorn's event loop keeps the connections, a bounded number of threads runs Django.

``worker`` guards the connections, ``adapter`` takes a request in and sends its answer, ``spooled`` holds their bytes,
``lanes`` are the threads, ``exchange`` calls the WSGI application.
"""
