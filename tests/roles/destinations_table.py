"""The pages of destinations of results and events: columns as in ``tests.roles.table``."""

DESTINATION_ROWS = [
    ("portal:destinations", "GET", "/settings/destinations/", "302 403 403 200 302 302 302 302 302 403"),
    ("portal:new-destination", "GET", "/settings/destinations/new/stow/", "302 403 403 200 302 302 302 302 302 403"),
    ("portal:new-destination", "POST", "/settings/destinations/new/stow/", "302 403 403 200 302 302 302 302 302 403"),
    (
        "portal:destination",
        "GET",
        "/settings/destinations/0190a5c0-0000-7000-8000-000000000000/",
        "302 403 403 404 302 302 302 302 302 403",
    ),
    (
        "portal:destination",
        "POST",
        "/settings/destinations/0190a5c0-0000-7000-8000-000000000000/",
        "302 403 403 404 302 302 302 302 302 403",
    ),
    (
        "portal:test-destination",
        "POST",
        "/settings/destinations/0190a5c0-0000-7000-8000-000000000000/test/",
        "302 403 403 404 302 302 302 302 302 403",
    ),
    (
        "portal:switch-destination",
        "POST",
        "/settings/destinations/0190a5c0-0000-7000-8000-000000000000/switch/",
        "302 403 403 404 302 302 302 302 302 403",
    ),
    (
        "portal:repeat-failed",
        "POST",
        "/settings/destinations/0190a5c0-0000-7000-8000-000000000000/again/",
        "302 403 403 404 302 302 302 302 302 403",
    ),
    (
        "portal:remove-destination",
        "POST",
        "/settings/destinations/0190a5c0-0000-7000-8000-000000000000/remove/",
        "302 403 403 404 302 302 302 302 302 403",
    ),
    (
        "portal:renew-webhook-secret",
        "POST",
        "/settings/destinations/0190a5c0-0000-7000-8000-000000000000/secret/",
        "302 403 403 404 302 302 302 302 302 403",
    ),
    (
        "portal:repeat-delivery",
        "POST",
        "/settings/deliveries/0190a5c0-0000-7000-8000-000000000000/again/",
        "302 403 403 404 302 302 302 302 302 403",
    ),
]
