"""The rows of `tests.roles.table` for the pages of what readers' verdicts teach."""

QUALITY_ROWS = [
    ("portal:quality", "GET", "/quality/", "302 403 200 200 302 302 302 302 302 200"),
    ("portal:quality-csv", "GET", "/quality/verdicts.csv", "302 403 200 200 302 302 302 302 302 200"),
    ("portal:discordances", "GET", "/quality/review/", "302 403 200 200 302 302 302 302 302 200"),
    (
        "portal:resolve-discordance",
        "POST",
        "/quality/review/0190a5c0-0000-7000-8000-000000000000/",
        "302 403 400 403 302 302 302 302 302 400",
    ),
    (
        "portal:undo-resolution",
        "POST",
        "/quality/review/0190a5c0-0000-7000-8000-000000000000/undo/",
        "302 403 404 403 302 302 302 302 302 404",
    ),
]
