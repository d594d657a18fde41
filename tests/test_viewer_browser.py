"""A real Chromium opens the viewer, moves a slider and sees the picture change."""

import shutil

import cv2
import numpy as np
import pytest
from viewer_standin import PaperAvatar

from viewer.app import Viewer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()


class Seen:
    """What a person sees: the canvas part of the page, once it has come to rest."""

    def __init__(self, page, avatar) -> None:
        self.page, self.avatar = page, avatar

    def picture(self) -> np.ndarray:
        png = self.page.screenshot(clip={"x": 150, "y": 160, "width": 330, "height": 420})
        return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB).astype(int)

    def at_rest(self) -> np.ndarray:
        """Wait until no frame was rendered and no pixel changed for half a second."""
        last, count = self.picture(), -1
        for _ in range(60):
            count = self.avatar.frames_rendered
            self.page.wait_for_timeout(500)
            now = self.picture()
            if count == self.avatar.frames_rendered > 0 and np.abs(now - last).max() <= 2:
                return now
            last = now
        raise AssertionError("the picture does not come to rest")


@pytest.fixture
def seen(browser):
    avatar = PaperAvatar()
    with Viewer(avatar, port=8480, sharp_side=480) as viewer:
        page = browser.new_page(viewport={"width": 1000, "height": 720})
        page.goto(viewer.url)
        page.get_by_text("jawOpen").wait_for(timeout=60_000)
        yield Seen(page, avatar)
        page.close()


def thumb(page, label: str):
    """The draggable knob of a slider, found by the label in front of it."""
    identity = page.locator("label", has_text=label).first.get_attribute("for")
    return page.locator(f"[id='{identity}'] [role=slider]")


def redness(picture: np.ndarray) -> int:
    """Pixels of the paper mouth."""
    return int(((picture[..., 0] > 110) & (picture[..., 1] < 70) & (picture[..., 2] < 90)).sum())


def test_slider_changes_the_picture_and_idling_does_not(seen):
    before = seen.at_rest()
    assert redness(before) > 50
    rendered = seen.avatar.frames_rendered
    seen.page.wait_for_timeout(1500)
    assert seen.avatar.frames_rendered == rendered  # nothing moves, nothing is rendered or sent
    assert np.abs(seen.picture() - before).max() <= 2

    thumb(seen.page, "jawOpen").focus()
    seen.page.keyboard.press("End")
    after = seen.at_rest()
    assert redness(after) > 4 * redness(before)
    assert "x 480 px" in seen.page.content()  # at rest it is sharp

    seen.page.get_by_text("Reset face and view").click()
    assert abs(redness(seen.at_rest()) - redness(before)) < 0.1 * redness(before) + 20


def test_track_plays_and_the_hand_takes_over(seen):
    seen.at_rest()
    seen.page.get_by_role("checkbox").first.check()
    sizes = set()
    for _ in range(8):
        seen.page.wait_for_timeout(70)
        sizes.add(redness(seen.picture()) // 50)
    assert len(sizes) >= 3  # the mouth opens and closes
    thumb(seen.page, "mouthPucker").focus()
    seen.page.keyboard.press("ArrowRight")
    still = seen.at_rest()  # playing has ended
    assert not seen.page.get_by_role("checkbox").first.is_checked()
    seen.page.wait_for_timeout(600)
    assert np.abs(seen.picture() - still).max() <= 2


def test_dragging_orbits(seen):
    before = seen.at_rest()
    seen.page.mouse.move(300, 500)
    seen.page.mouse.down()
    seen.page.mouse.move(420, 500, steps=6)
    seen.page.mouse.up()
    after = seen.at_rest()
    assert (np.abs(after - before).max(2) > 60).mean() > 0.01
    assert redness(after) > 20  # the face is still in the picture: the camera turns about the head
