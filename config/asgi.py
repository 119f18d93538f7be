"""The ASGI application that gunicorn serves: an adapter around the WSGI application."""

from config.wsgi import application as wsgi_application

# ruff: isort: split
from config.serving.adapter import Adapter

application = Adapter(wsgi_application)
