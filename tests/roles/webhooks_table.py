"""The addresses of webhooks in REST: columns as in ``tests.roles.table``. No webhook has the id of the example."""

_ONE = "401 403 403 404 401 403 403 403 404 403"
WEBHOOK_ROWS = [
    ("api:webhooks", "GET", "/api/v1/webhooks/", "401 403 403 200 401 403 403 403 200 403"),
    ("api:webhooks", "POST", "/api/v1/webhooks/", "401 403 403 400 401 403 403 403 400 403"),
    ("api:webhook", "GET", "/api/v1/webhooks/{key}/", _ONE),
    ("api:webhook", "PATCH", "/api/v1/webhooks/{key}/", _ONE),
    ("api:webhook", "DELETE", "/api/v1/webhooks/{key}/", _ONE),
    ("api:webhook-test", "POST", "/api/v1/webhooks/{key}/test/", _ONE),
    ("api:webhook-secret", "POST", "/api/v1/webhooks/{key}/secret/", _ONE),
    ("api:webhook-repeat", "POST", "/api/v1/webhooks/{key}/repeat/", _ONE),
]
