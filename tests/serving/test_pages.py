"""The page at / in a browser, on desktop and phone, with keys and without."""

import pytest
import requests

from small_service import FRAME, KINDS, POINT, QUANTILES, READINGS, WATCHED, running

pytestmark = pytest.mark.xdist_group("serving")
IS_SHOWN = "return !document.getElementById('result').hidden"
MESSAGE = "return document.getElementById('message').textContent"


@pytest.fixture(scope="module")
def opened(shop, tmp_path_factory):
    """An open service."""
    with running(shop, tmp_path_factory.mktemp("page"), (*KINDS, WATCHED), token=None) as found:
        yield found


def until(browser, script):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 20).until(lambda one: one.execute_script(script))


def size(browser, width, mobile):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": mobile}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def choose(browser, element, value):
    script = "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
    script += "e.dispatchEvent(new Event('change'))"
    browser.execute_script("document.getElementById('result').hidden = true")
    browser.execute_script(script, element, value)
    until(browser, IS_SHOWN)


def count(browser, selector):
    return browser.execute_script("return document.querySelectorAll(arguments[0]).length", selector)


def test_a_browser_gets_the_page_and_a_program_the_health(opened):
    page = requests.get(opened.url, headers={"Accept": "text/html,*/*;q=0.8"}, timeout=30)
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for accept in ("*/*", "application/json", ""):
        assert requests.get(opened.url, headers={"Accept": accept}, timeout=30).json()["status"] == "ok"


def test_a_model_and_a_series_are_picked_and_seen_on_desktop_and_phone_light_and_dark(browser, opened):
    for width, mobile in ((1280, False), (390, True)):
        size(browser, width, mobile)
        for scheme in ("light", "dark"):
            feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
            browser.get(opened.url)
            until(browser, IS_SHOWN)
            choose(browser, "model", QUANTILES)
            choose(browser, "series", "pear")
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            assert [count(browser, f"svg .{name}") for name in ("history", "forecast", "band")] == [1, 1, 1]
            assert count(browser, "svg .dot") == count(browser, "#table tr") - 1 == 2
            assert "pear" in browser.execute_script("return document.querySelector('svg').getAttribute('aria-label')")
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_steps_beyond_the_horizon_are_drawn_dashed(browser, opened):
    size(browser, 1280, False)
    browser.get(opened.url)
    until(browser, IS_SHOWN)
    choose(browser, "horizon", "6")
    assert (count(browser, "svg .rolled"), count(browser, "#table tr")) == (1, 7)
    assert "rolled forward" in browser.execute_script("return document.getElementById('table').textContent")


def test_the_command_that_is_shown_gives_the_forecast_that_is_shown(browser, opened, tmp_path):
    import subprocess

    browser.get(opened.url)
    until(browser, IS_SHOWN)
    command = browser.execute_script("return document.getElementById('curl').textContent")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    value = browser.execute_script("return state.forecasts[0].points[0].value")
    assert f'"value":{value}' in done.stdout


def test_a_dropped_file_is_forecast_and_a_wrong_one_is_reported(browser, opened, tmp_path):
    good, bad = tmp_path / "it's sales.csv", tmp_path / "bad.csv"
    FRAME.to_csv(good, index=False, sep=";", decimal=",")
    FRAME.drop(columns="price").to_csv(bad, index=False)
    browser.get(opened.url)
    until(browser, IS_SHOWN)
    drop = browser.find_element("id", "file")
    drop.send_keys(str(bad))
    until(browser, "return document.getElementById('message').className === 'bad'")
    assert browser.execute_script(MESSAGE).startswith("line 1: no column 'price'")
    assert not browser.execute_script(IS_SHOWN)
    drop.send_keys(str(good))
    until(browser, IS_SHOWN)
    assert browser.execute_script(MESSAGE) == ""
    choose(browser, "series", "pear")
    last = browser.execute_script("return state.forecasts.find(one => one.id === 'pear').history.at(-1)")
    assert last == {"time": FRAME["date"].iloc[-1], "value": FRAME["quantity"].iloc[-1]}
    assert "file=@'it'\\''s sales.csv'" in browser.execute_script("return document.getElementById('curl').textContent")


def test_a_detector_shades_what_is_anomalous_in_its_example_and_in_a_dropped_file(browser, opened, tmp_path):
    path = tmp_path / "sensors.csv"
    READINGS.tail(150).to_csv(path, index=False, sep=";", decimal=",")
    browser.get_log("browser")  # what others left
    for width, mobile in ((390, True), (1280, False)):
        size(browser, width, mobile)
        browser.get(opened.url)
        until(browser, IS_SHOWN)
        choose(browser, "model", WATCHED)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert [count(browser, f"svg .{name}") for name in ("sensor", "score", "threshold")] == [2, 1, 1]
    line = "return document.querySelector('svg .threshold').getAttribute('d')"
    assert "V" not in browser.execute_script(line)
    browser.execute_script("state.scores.scores.forEach((step, k) => step.threshold = 1 + k % 2)")
    browser.execute_script("drawScores(state.scores, currentModel())")
    assert browser.execute_script(line).count("V") == browser.execute_script("return state.scores.scores.length") - 1
    stretches = count(browser, "#table tr") - 1
    assert count(browser, "svg .event") == 3 * stretches > 0
    assert "heat (" in browser.execute_script("return document.getElementById('table').textContent")
    browser.execute_script("document.getElementById('result').hidden = true")
    browser.find_element("id", "file").send_keys(str(path))
    until(browser, IS_SHOWN)
    assert browser.execute_script("return state.scores.scores.length") == 150
    assert "anomalies_csv" in browser.execute_script("return document.getElementById('curl').textContent")
    choose(browser, "model", POINT)
    assert count(browser, "svg .forecast") == 1
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_with_keys_it_asks_for_one(browser, shop, tmp_path):
    with running(shop, tmp_path, (POINT,)) as service:
        browser.get(service.url)
        assert "API key" in until(browser, MESSAGE)
        assert not browser.execute_script(IS_SHOWN)
        script = "const e = document.getElementById('key'); e.value = arguments[0];"
        script += "e.dispatchEvent(new Event('change'))"
        browser.execute_script(script, "x.wrong")
        until(browser, "return document.getElementById('message').className === 'bad'")
        browser.execute_script(script, service.key)
        until(browser, IS_SHOWN)
        assert "$GRIDCAST_KEY" in browser.execute_script("return document.getElementById('curl').textContent")
        assert service.key not in browser.page_source
