"""An annotator at the page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from server.lab import Lab

from minivess.volume import read_volume

READY = "() => window.minivess.review?.regions.current && !document.getElementById('work').hidden"
#: The page's mask in the order of the file's voxels (I slowest), as text of 0 and 1.
MASK = """() => { const { grid, mask } = window.minivess.viewer; const [x, y, z] = grid.shape; const voxels = new Uint8Array(x * y * z)
    grid.within([0, x, 0, y, 0, z], (index, n) => { voxels[n] = mask[index] }); return voxels.join('') }"""
IDLE = "() => window.minivess.review.queue.then(() => true)"


class Seat:
    """What an annotator does there, and what they see."""

    def __init__(self, page: Page, lab: Lab, user: str = "ann") -> None:
        self.page, self.lab, self.user = page, lab, user

    def connect(self, image: str = "") -> Seat:
        """Connect; the page opens an image and reserves its first region."""
        self.page.goto(f"{self.lab.server.url}/app/")
        if image:
            self.page.evaluate("(image) => sessionStorage.setItem('minivess.image', image)", image)
        return self.enter_token()

    def enter_token(self) -> Seat:
        self.page.fill("#token", self.lab.tokens[self.user])
        self.page.click("#connect button")
        self.page.wait_for_function(READY, timeout=300_000)
        self.idle()
        return self

    def choose(self, image: str) -> Seat:
        self.page.select_option("#image", image)
        self.page.wait_for_function(f"() => window.minivess.review.image?.name === '{image}'", timeout=300_000)
        self.idle()
        assert self.item, self.message
        return self

    def idle(self) -> None:
        self.page.evaluate(IDLE)

    def show_region(self, index: int) -> None:
        """Show a region of the image by its index, negative from the last."""
        self.page.evaluate(
            "(index) => { const { review } = window.minivess; review.enqueue(() => review.choose(review.regions.items.at(index))) }",
            index,
        )
        self.idle()

    def shown_for(self, ms: int) -> None:
        """Set since when the current region is shown, however fast the machine is: negative for a region that is about to come up."""
        self.page.evaluate("(ms) => { window.minivess.review.regions.since = performance.now() - ms }", ms)

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)
        self.idle()

    @property
    def item(self) -> dict[str, Any] | None:
        """The current region."""
        return self.page.evaluate("() => window.minivess.review.regions.current")

    @property
    def message(self) -> str:
        return self.page.inner_text("#message")

    def mask(self) -> np.ndarray:
        shape = self.page.evaluate("() => window.minivess.viewer.grid.shape")
        return np.frombuffer(self.page.evaluate(MASK).encode(), np.uint8).reshape(shape) - 48

    def stroke(self, dx: int = 30) -> None:
        """Draw with the pen from the middle of the first view, where the region is."""
        x, y = self.middle()
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + dx // 2, y + 4, steps=4)
        self.page.mouse.move(x + dx, y + 8, steps=4)
        self.page.mouse.up()
        self.drawn()
        self.idle()

    def drawn(self) -> None:
        """Wait until what was done is drawn, and the timers that it has set have gone off."""
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => setTimeout(() => requestAnimationFrame(done), 40)))"
        )

    def click_voxel(self, ijk: tuple[int, int, int]) -> None:
        """Click on a voxel: the crosshair goes there first, as the arrow keys or the wheel would bring it."""
        self.page.evaluate(
            """(ijk) => { const { nv, grid } = window.minivess.viewer; const ras = grid.toRas(ijk)
            nv.scene.crosshairPos = grid.ras.map((n, r) => (ras[r] + 0.5) / n); nv.drawScene() }""",
            list(ijk),
        )
        x, y = self.crosshair()
        self.page.mouse.click(x, y)
        self.drawn()
        self.idle()

    def crosshair(self) -> tuple[float, float]:
        """Where the crosshair is in the axial view, on the screen."""
        return self._on_screen("nv.scene.crosshairPos")

    def middle(self) -> tuple[float, float]:
        """Where the middle of the framed region is in the axial view, on the screen; in the slice shown."""
        middle = "grid.toRas([0, 1, 2].map((a) => Math.floor((box[2 * a] + box[2 * a + 1] - 1) / 2)))"
        return self._on_screen(f"{middle}.map((n, r) => (r === 2 ? nv.scene.crosshairPos[2] : (n + 0.5) / grid.ras[r]))")

    def _on_screen(self, fraction: str) -> tuple[float, float]:
        x, y = self.page.evaluate(
            f"""() => {{ const {{ nv, grid, box, canvas }} = window.minivess.viewer
            const at = nv.frac2canvasPosWithTile({fraction}, 0).pos
            const scale = canvas.width / canvas.clientWidth; const edges = canvas.getBoundingClientRect()
            return [edges.left + at[0] / scale, edges.top + at[1] / scale] }}"""
        )
        return x, y

    def server_mask(self, image: str, name: str = "draft/mask") -> np.ndarray:
        """What the server holds."""
        file = Path(self.lab.folder) / f"{image}.nrrd"
        answer = self.lab.ask("GET", f"/review/images/{image}/{name}", self.user)
        assert answer.status_code == 200, answer.text
        file.write_bytes(answer.content)
        return read_volume(file).array

    def picture(self, name: str) -> None:
        """Leave a picture of the page where MINIVESS_PICTURES says."""
        if os.environ.get("MINIVESS_PICTURES"):
            self.page.screenshot(path=Path(os.environ["MINIVESS_PICTURES"]) / f"{name}.png")


def serious_findings(page: Page) -> list[tuple[str, str]]:
    """Return what axe finds that is serious for people with a disability."""
    found = Axe().run(page).response["violations"]
    return [(v["id"], v["help"]) for v in found if v["impact"] in ("serious", "critical")]
