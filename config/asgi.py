"""The application that gunicorn serves."""

from config.wsgi import application as wsgi_application

# ruff: isort: split
from config.serving.adapter import Adapter

application = Adapter(wsgi_application)
