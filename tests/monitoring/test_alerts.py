"""Alerts reach a real server, and their addresses stay secret."""

import logging
import sys

import pytest

from gridcast.monitoring import alerts
from gridcast.runtime.errors import ConfigError
from tracking_servers import Post, free_port

pytestmark = pytest.mark.filterwarnings("ignore:.imghdr. is deprecated:DeprecationWarning")


def test_every_address_gets_title_and_text():
    pytest.importorskip("apprise")
    with Post() as post:
        alerts.send_notice(alerts.open_notifier([post.url, f"{post.url}/other"]), "shop needs a look", "PSI 0.4")
    assert [(got["title"], got["message"]) for got in post.got] == [("shop needs a look", "PSI 0.4")] * 2


def test_an_unreachable_address_is_reported_without_its_secrets(caplog):
    pytest.importorskip("apprise")
    with caplog.at_level(logging.WARNING, "gridcast"):
        alerts.send_notice(alerts.open_notifier([f"json://me:secret@127.0.0.1:{free_port()}"]), "a", "b")
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("gridcast")]
    assert messages == ["--alert: at least one address could not be reached; the verdict is only on the page"]


def test_an_unsupported_address_is_refused_without_its_secrets():
    pytest.importorskip("apprise")
    with pytest.raises(ConfigError, match=r"address 2 \(scheme: nosuch\)") as refused:
        alerts.open_notifier(["json://127.0.0.1:9", "nosuch://me:secret@host"])
    assert "secret" not in str(refused.value)


def test_without_apprise_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError, match=r"pip install 'gridcast\[alerts\]'"):
        alerts.open_notifier(["json://127.0.0.1:9"])


def test_a_web_hook_gets_json_and_a_key_that_identifies_repetitions():
    with Post() as post:
        url = post.url.replace("json://", "http://")
        assert alerts.post_webhook(url, {"id": "plant/7", "text": "größer"}, "plänt/7 00:00")
    assert post.got == [{"id": "plant/7", "text": "größer"}]


def test_a_web_hook_that_does_not_respond_is_reported_without_its_address(caplog):
    with caplog.at_level(logging.WARNING, "gridcast"):
        assert not alerts.post_webhook(f"http://127.0.0.1:{free_port()}/secret", {}, "key")
    assert "the alert is sent again at the next poll" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("url", ["host/secret", "ftp://host/secret", "https:///secret"])
def test_a_web_hook_without_an_address_is_refused_without_its_secrets(url):
    with pytest.raises(ConfigError, match="--webhook: ") as refused:
        alerts.check_webhook(url)
    assert "secret" not in str(refused.value)
