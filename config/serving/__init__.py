"""The web server: gunicorn's event loop handles the connections, a bounded number of threads runs Django.

``worker`` adds deadlines to the connections, ``adapter`` receives a request and sends its answer, ``spooled`` stores
their bytes, ``lanes`` are the thread pools, ``exchange`` calls the WSGI application.
"""
