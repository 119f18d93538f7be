"""The ASGI application that gunicorn serves: an adapter around the WSGI application."""

# Import the WSGI application first: it sets up Django.
from config.wsgi import application as wsgi_application

# ruff: isort: split
from config.serving.adapter import SpoolingAdapter

application = SpoolingAdapter(wsgi_application)
