"""A process names environment variables that it cannot use when it starts."""

import pytest

from config.env import EnvironmentVariableError, env_float, env_networks


@pytest.mark.parametrize("value", ["much", "nan", "inf"])
def test_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("GATE_DELTA", value)
    with pytest.raises(EnvironmentVariableError, match="GATE_DELTA"):
        env_float("GATE_DELTA", 0.02)


@pytest.mark.parametrize("value", ["10.1.0.1/16", "everywhere", "10.1.0.0/16, fd00::/200"])
def test_no_network_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("WEBHOOK_NETWORKS", value)
    with pytest.raises(EnvironmentVariableError, match="WEBHOOK_NETWORKS"):
        env_networks("WEBHOOK_NETWORKS")


def test_what_can_be_used_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE_DELTA", "0.01")
    monkeypatch.setenv("WEBHOOK_NETWORKS", "10.1.0.0/16, fd00::/8")
    assert env_float("GATE_DELTA", 0.02) == 0.01
    assert env_networks("WEBHOOK_NETWORKS") == ["10.1.0.0/16", "fd00::/8"]
    monkeypatch.delenv("GATE_DELTA")
    assert env_float("GATE_DELTA", 0.02) == 0.02
