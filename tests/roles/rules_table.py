"""The rows of `tests.roles.table` for the pages of the rules about arriving objects."""

RULES_ROWS = [
    ("portal:rules", "GET", "/settings/rules/", "302 403 403 200 302 302 302 302 302 403"),
    ("portal:rules", "POST", "/settings/rules/", "302 403 403 200 302 302 302 302 302 403"),
    ("portal:new-rule", "GET", "/settings/rules/new/", "302 403 403 200 302 302 302 302 302 403"),
    ("portal:new-rule", "POST", "/settings/rules/new/", "302 403 403 200 302 302 302 302 302 403"),
    ("portal:rules-test", "GET", "/settings/rules/test/", "302 403 403 200 302 302 302 302 302 403"),
    ("portal:rules-test", "POST", "/settings/rules/test/", "302 403 403 200 302 302 302 302 302 403"),
    ("portal:rules-history", "GET", "/settings/rules/history/", "302 403 403 200 302 302 302 302 302 403"),
    ("portal:restore-rules", "POST", "/settings/rules/history/0/restore/", "302 403 403 409 302 302 302 302 302 403"),
    (
        "portal:rule",
        "GET",
        "/settings/rules/0190a5c0-0000-7000-8000-000000000000/",
        "302 403 403 404 302 302 302 302 302 403",
    ),
    (
        "portal:rule",
        "POST",
        "/settings/rules/0190a5c0-0000-7000-8000-000000000000/",
        "302 403 403 404 302 302 302 302 302 403",
    ),
    (
        "portal:change-rule",
        "POST",
        "/settings/rules/0190a5c0-0000-7000-8000-000000000000/change/",
        "302 403 403 400 302 302 302 302 302 403",
    ),
]
